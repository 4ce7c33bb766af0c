"""The state machine of an endpoint's lane: a table from state x event to state, and whether it is given back. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from voxfleet_api.endpoint_lanes import LaneState


class LaneEvent(StrEnum):
    RETRIED = "Retried"  # its PUT is repeated when it may try again, and a lane was taken for it
    WARM = "Warm"  # a child has worked through its warm-up clip
    COLD = "Cold"  # that child ended, and another one loads
    FAILED = "Failed"  # the first child did not become ready, or nothing replaces those that end
    LAPSED = "Lapsed"  # the lease expired, or the Mac closes
    SUPERSEDED = "Superseded"  # a newer generation came
    DELETE = "Delete"


@dataclass(frozen=True, slots=True)
class LaneTransition:
    state: LaneState
    gives_back: bool = False
    """Sessions and child are ended, and the lane goes back to its pool."""


class InvalidLaneTransition(Exception):
    """An event occurred in a state in which it cannot occur, which is a programming error."""

    def __init__(self, state: LaneState, event: LaneEvent) -> None:
        super().__init__(f"{event} cannot happen to a lane that is {state}")


_S, _E = LaneState, LaneEvent
_END = LaneTransition(_S.DELETING, gives_back=True)
_ENDS = (_E.LAPSED, _E.SUPERSEDED, _E.DELETE)

TABLE: dict[tuple[LaneState, LaneEvent], LaneTransition] = {
    (_S.LOADING, _E.WARM): LaneTransition(_S.READY),
    (_S.LOADING, _E.COLD): LaneTransition(_S.LOADING),
    (_S.LOADING, _E.FAILED): LaneTransition(_S.FAILED, gives_back=True),
    (_S.READY, _E.WARM): LaneTransition(_S.READY),
    (_S.READY, _E.COLD): LaneTransition(_S.LOADING),
    (_S.FAILED, _E.RETRIED): LaneTransition(_S.LOADING),
    # What a lane that is being given back still tells is of no interest.
    **{(_S.DELETING, event): LaneTransition(_S.DELETING) for event in (_E.WARM, _E.COLD, _E.FAILED, *_ENDS)},
    **{(state, event): _END for state in (_S.LOADING, _S.READY, _S.FAILED) for event in _ENDS},
}


def lane_transition(state: LaneState, event: LaneEvent) -> LaneTransition:
    """Returns the next state. Raises InvalidLaneTransition."""
    try:
        return TABLE[state, event]
    except KeyError as error:
        raise InvalidLaneTransition(state, event) from error
