"""The state machine of an endpoint's lane: a table from state x event to state and actions. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from voxfleet_api.endpoint_lanes import LaneState


class LaneEvent(StrEnum):
    PUT = "Put"  # the same PUT is repeated
    RETRIED = "Retried"  # it is repeated when a lane that failed may try again
    WARM = "Warm"  # a child has worked through its warm-up clip
    COLD = "Cold"  # that child ended, and another one loads
    FAILED = "Failed"  # the first child did not become ready, or nothing replaces those that end
    LAPSED = "Lapsed"  # the lease expired, or the Mac closes
    SUPERSEDED = "Superseded"  # a newer generation came
    DELETE = "Delete"


class LaneAction(StrEnum):
    LOAD = "Load"  # take a lane, find the model, load it
    GIVE_BACK = "GiveBack"  # end sessions and child, and give the lane back to its pool
    FORGET = "Forget"  # nothing is left of it


@dataclass(frozen=True, slots=True)
class LaneTransition:
    state: LaneState
    actions: tuple[LaneAction, ...] = ()


class InvalidLaneTransition(Exception):
    """An event occurred in a state in which it cannot occur, which is a programming error."""

    def __init__(self, state: LaneState, event: LaneEvent) -> None:
        super().__init__(f"{event} cannot happen to a lane that is {state}")


_S, _E, _A = LaneState, LaneEvent, LaneAction
_END = LaneTransition(_S.DELETING, (_A.GIVE_BACK, _A.FORGET))
_ENDS = (_E.LAPSED, _E.SUPERSEDED, _E.DELETE)

TABLE: dict[tuple[LaneState, LaneEvent], LaneTransition] = {
    (_S.LOADING, _E.PUT): LaneTransition(_S.LOADING),
    (_S.LOADING, _E.WARM): LaneTransition(_S.READY),
    (_S.LOADING, _E.COLD): LaneTransition(_S.LOADING),
    (_S.LOADING, _E.FAILED): LaneTransition(_S.FAILED, (_A.GIVE_BACK,)),
    (_S.READY, _E.PUT): LaneTransition(_S.READY),
    (_S.READY, _E.WARM): LaneTransition(_S.READY),
    (_S.READY, _E.COLD): LaneTransition(_S.LOADING),
    (_S.FAILED, _E.PUT): LaneTransition(_S.FAILED),
    (_S.FAILED, _E.RETRIED): LaneTransition(_S.LOADING, (_A.LOAD,)),
    # What a lane that is being given back still tells is of no interest.
    **{(_S.DELETING, event): LaneTransition(_S.DELETING) for event in (_E.PUT, _E.WARM, _E.COLD, _E.FAILED, *_ENDS)},
    **{(state, event): _END for state in (_S.LOADING, _S.READY, _S.FAILED) for event in _ENDS},
}


def lane_transition(state: LaneState, event: LaneEvent) -> LaneTransition:
    """Returns the next state and the actions. Raises InvalidLaneTransition."""
    try:
        return TABLE[state, event]
    except KeyError as error:
        raise InvalidLaneTransition(state, event) from error
