"""Which endpoints may still have a lane on a Mac. Pure.

An endpoint's status names a Mac for longer: it remembers a lane that failed there until the Mac may be tried again.
"""

from __future__ import annotations

from collections.abc import Iterable

from voxfleet_api.endpoint_lanes import LaneKey
from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.endpoint_status import EndpointLane, EndpointLaneState
from voxfleet_operator.fleet.mac_view import MacView, Outcome

TAKEN_AWAY = frozenset({EndpointLaneState.FAILED, EndpointLaneState.LEAVING})
"""Such a lane is deleted on its Mac."""


def holding(endpoints: Iterable[VoiceEndpoint], view: MacView) -> list[VoiceEndpoint]:
    """Those of the endpoints that may have a lane on the Mac."""
    return [
        endpoint
        for endpoint in endpoints
        if any(lane.mac == view.name and may_hold(lane, endpoint.metadata.uid, view) for lane in endpoint.status.macs)
    ]


def may_hold(lane: EndpointLane, endpoint_uid: str, view: MacView | None) -> bool:
    """Whether the lane's Mac may still have something of it. `view`: the Mac's; None: there is none.

    A Mac that took a lane away says so with each answer to its deletion, which a new process repeats.
    """
    answer = None if view is None else view.lanes.get(LaneKey(endpoint_uid, lane.generation))
    return lane.state not in TAKEN_AWAY or answer is None or answer.outcome is not Outcome.GONE
