"""The state machine in every state and for every event."""

from __future__ import annotations

from itertools import product

import pytest

from voxfleet_agent.attempts.state_machine import Action, AttemptEvent, InvalidTransition, Transition, transition
from voxfleet_api.protocol import TERMINAL_STATES, AttemptState

S, E = AttemptState, AttemptEvent
IMPOSSIBLE = None

# Rows: states; columns: PUT, GRANTED, LAPSED, RESTARTED, ENDED, CLEANED_SUCCESS, CLEANED_FAILURE, DELETE.
EXPECTED: dict[AttemptState, tuple[AttemptState | None, ...]] = {
    S.ACCEPTED: (S.ACCEPTED, S.RUNNING, S.PARKED, S.PARKED, None, None, None, S.DELETING),
    S.RUNNING: (S.RUNNING, None, S.PARKED, S.PARKED, S.FINISHING, None, None, S.DELETING),
    S.PARKED: (S.ACCEPTED, None, S.PARKED, S.PARKED, None, None, None, S.DELETING),
    S.FINISHING: (S.FINISHING, None, S.FINISHING, S.FINISHING, None, S.SUCCEEDED, S.FAILED, S.DELETING),
    S.SUCCEEDED: (S.SUCCEEDED, None, S.SUCCEEDED, S.SUCCEEDED, None, None, None, S.DELETING),
    S.FAILED: (S.FAILED, None, S.FAILED, S.FAILED, None, None, None, S.DELETING),
    S.DELETING: (None, S.DELETING, S.DELETING, S.DELETING, S.DELETING, S.DELETING, S.DELETING, S.DELETING),
}


def outcome(state: AttemptState, event: AttemptEvent) -> Transition | None:
    try:
        return transition(state, event)
    except InvalidTransition:
        return IMPOSSIBLE


@pytest.mark.parametrize(("state", "event"), list(product(S, E)))
def test_the_table_is_complete(state: AttemptState, event: AttemptEvent) -> None:
    change = outcome(state, event)
    assert (None if change is None else change.state) is EXPECTED[state][list(E).index(event)]


@pytest.mark.parametrize("state", list(S))
def test_only_states_that_may_have_a_child_stop_it(state: AttemptState) -> None:
    may_run = state in {S.ACCEPTED, S.RUNNING}
    for event in (E.LAPSED, E.DELETE):
        assert (Action.STOP in transition(state, event).actions) is may_run


@pytest.mark.parametrize("event", [event for event in E if event is not E.DELETE])
@pytest.mark.parametrize("state", sorted(TERMINAL_STATES))
def test_only_deletion_moves_a_terminal_attempt(state: AttemptState, event: AttemptEvent) -> None:
    change = outcome(state, event)
    assert change in (IMPOSSIBLE, Transition(state))


@pytest.mark.parametrize("event", [E.PUT, E.LAPSED, E.RESTARTED])
def test_a_durable_outcome_is_never_undone(event: AttemptEvent) -> None:
    assert transition(S.FINISHING, event).state is S.FINISHING


@pytest.mark.parametrize("state", [state for state in S if state is not S.DELETING])
def test_deletion_cleans_and_forgets_from_every_state(state: AttemptState) -> None:
    actions = transition(state, E.DELETE).actions
    assert actions[-2:] == (Action.CLEAN, Action.FORGET)


def test_only_a_parked_attempt_starts_again() -> None:
    starts = [state for state in S if state is not S.DELETING and Action.START in transition(state, E.PUT).actions]
    assert starts == [S.PARKED]
