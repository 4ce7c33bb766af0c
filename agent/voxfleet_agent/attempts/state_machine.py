"""The state machine of an attempt: a table from state x event to state and actions. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from voxfleet_api.protocol import AttemptState


class AttemptEvent(StrEnum):
    PUT = "Put"  # the same PUT is repeated
    GRANTED = "Granted"  # the attempt has a lane or a control slot
    LAPSED = "Lapsed"  # the lease expired, the agent stops, or a newer attempt supersedes it
    RESTARTED = "Restarted"  # the agent restarted, so nothing runs any more
    ENDED = "Ended"  # the stage returned or raised
    CLEANED_SUCCESS = "CleanedSuccess"  # cleanup ended after a result
    CLEANED_FAILURE = "CleanedFailure"  # cleanup ended after a failure
    DELETE = "Delete"


class Action(StrEnum):
    START = "Start"  # ask for a slot, then run the stage
    STOP = "Stop"  # cancel the stage and kill the lane's child
    CLEAN = "Clean"  # remove scratch, seal the machine-hours
    FINISH = "Finish"  # continue after the durable outcome: clean, then end
    FORGET = "Forget"  # remove the attempt from the journal


@dataclass(frozen=True, slots=True)
class Transition:
    state: AttemptState
    actions: tuple[Action, ...] = ()


class InvalidTransition(Exception):
    """An event occurred in a state in which it cannot occur, which is a programming error."""

    def __init__(self, state: AttemptState, event: AttemptEvent) -> None:
        super().__init__(f"{event} cannot happen to an attempt that is {state}")


_S, _E, _A = AttemptState, AttemptEvent, Action
_PARK = Transition(_S.PARKED, (_A.STOP, _A.CLEAN))
_ABORT = Transition(_S.DELETING, (_A.STOP, _A.CLEAN, _A.FORGET))
_ERASE = Transition(_S.DELETING, (_A.CLEAN, _A.FORGET))

TABLE: dict[tuple[AttemptState, AttemptEvent], Transition] = {
    (_S.ACCEPTED, _E.PUT): Transition(_S.ACCEPTED),
    (_S.ACCEPTED, _E.GRANTED): Transition(_S.RUNNING),
    (_S.ACCEPTED, _E.LAPSED): _PARK,
    (_S.ACCEPTED, _E.RESTARTED): Transition(_S.PARKED, (_A.CLEAN,)),
    (_S.ACCEPTED, _E.DELETE): _ABORT,
    (_S.RUNNING, _E.PUT): Transition(_S.RUNNING),
    (_S.RUNNING, _E.LAPSED): _PARK,
    (_S.RUNNING, _E.RESTARTED): Transition(_S.PARKED, (_A.CLEAN,)),
    (_S.RUNNING, _E.ENDED): Transition(_S.FINISHING, (_A.FINISH,)),
    (_S.RUNNING, _E.DELETE): _ABORT,
    (_S.PARKED, _E.PUT): Transition(_S.ACCEPTED, (_A.START,)),
    (_S.PARKED, _E.LAPSED): Transition(_S.PARKED),
    (_S.PARKED, _E.RESTARTED): Transition(_S.PARKED),
    (_S.PARKED, _E.DELETE): _ERASE,
    # An attempt with a durable outcome needs no lease any more, and only deletion undoes the outcome.
    (_S.FINISHING, _E.PUT): Transition(_S.FINISHING),
    (_S.FINISHING, _E.LAPSED): Transition(_S.FINISHING),
    (_S.FINISHING, _E.RESTARTED): Transition(_S.FINISHING, (_A.FINISH,)),
    (_S.FINISHING, _E.CLEANED_SUCCESS): Transition(_S.SUCCEEDED),
    (_S.FINISHING, _E.CLEANED_FAILURE): Transition(_S.FAILED),
    (_S.FINISHING, _E.DELETE): _ERASE,
    # Deletion may overtake a stage that just ended.
    (_S.DELETING, _E.GRANTED): Transition(_S.DELETING),
    (_S.DELETING, _E.ENDED): Transition(_S.DELETING),
    (_S.DELETING, _E.CLEANED_SUCCESS): Transition(_S.DELETING),
    (_S.DELETING, _E.CLEANED_FAILURE): Transition(_S.DELETING),
    (_S.DELETING, _E.LAPSED): Transition(_S.DELETING),
    (_S.DELETING, _E.RESTARTED): _ERASE,
    (_S.DELETING, _E.DELETE): Transition(_S.DELETING),
} | {
    pair: target
    for state in (_S.SUCCEEDED, _S.FAILED)
    for pair, target in {
        (state, _E.PUT): Transition(state),
        (state, _E.LAPSED): Transition(state),
        (state, _E.RESTARTED): Transition(state),
        (state, _E.DELETE): _ERASE,
    }.items()
}


def transition(state: AttemptState, event: AttemptEvent) -> Transition:
    """Returns the next state and the actions. Raises InvalidTransition."""
    try:
        return TABLE[state, event]
    except KeyError as error:
        raise InvalidTransition(state, event) from error
