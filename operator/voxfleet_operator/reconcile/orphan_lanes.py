"""Lanes that a Mac keeps warm for no endpoint: renewals would keep them for ever. Pure.

They are left where the API server was restored from a backup, and where somebody took an endpoint's finalizer away.
"""

from __future__ import annotations

from collections.abc import Callable

from voxfleet_api.endpoint_lanes import LaneStatus
from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_operator.fleet.mac_view import MacView


def orphan_lanes(view: MacView, endpoint_of: Callable[[str], VoiceEndpoint | None]) -> tuple[LaneStatus, ...]:
    """`endpoint_of`: the endpoint with a UID. A Mac that an endpoint's status names is that endpoint's own concern."""
    if not view.connected or view.machine is None:
        return ()
    return tuple(
        lane
        for lane in view.machine.endpoint_lanes
        if (endpoint := endpoint_of(lane.endpoint_uid)) is None
        or all(known.mac != view.name for known in endpoint.status.macs)
    )
