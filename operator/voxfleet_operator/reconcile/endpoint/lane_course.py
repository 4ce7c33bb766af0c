"""What is to become of a lane that an endpoint has, seen by itself. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum, auto

from voxfleet_api.kinds.endpoint_status import EndpointLane, EndpointLaneState
from voxfleet_operator.reconcile.lane_places import GivenUp

REPLACE_AFTER = timedelta(seconds=60)
"""So long a Mac may be out of contact before another one gets its lane. A dial takes up to half a minute."""


class Course(Enum):
    STAY = auto()
    GO = auto()  # now
    MOVE = auto()  # once another one is warm in its place
    RENEW = auto()  # it holds what lanes were told before; its Mac may have one


def lane_course(lane: EndpointLane, given_up: GivenUp | None, spec_digest: str | None, now: datetime) -> Course:
    """`lane`: one that is held. `spec_digest`: of what lanes are told now; None: the spec is not accepted.

    A Mac that the lane is to leave is told nothing new: it might refuse it, and what is warm would be lost.
    """
    if given_up is not None and given_up.at_once:
        return Course.GO
    if given_up is not None or is_lost(lane, now):
        return Course.MOVE
    return Course.STAY if spec_digest in (None, lane.spec_digest) else Course.RENEW


def is_lost(lane: EndpointLane, now: datetime) -> bool:
    since = datetime.fromisoformat(lane.since)
    return lane.state == EndpointLaneState.UNREACHABLE and now >= since + REPLACE_AFTER
