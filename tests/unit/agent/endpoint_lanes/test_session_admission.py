"""Who is let in for a session, and how others are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from voxfleet_agent.attempts.admission import Binding, Caller
from voxfleet_agent.endpoint_lanes.session_admission import (
    SOCKETS_OF_A_SESSION,
    SessionFacts,
    decide_session,
    decide_session_caller,
)
from voxfleet_api.endpoint_lanes import LaneState

FREE = SessionFacts(
    state=LaneState.READY,
    warm=True,
    stopping=False,
    open_sessions=1,
    awaited_sessions=0,
    sockets=1,
    most_sessions=2,
)
BOUND = Binding("here", 5)


def status(facts: SessionFacts) -> tuple[int | None, bool]:
    """(the status, whether it says when to try again)."""
    refusal = decide_session(facts)
    return (None, False) if refusal is None else (refusal.status, refusal.retry_after_seconds is not None)


@pytest.mark.parametrize(
    ("facts", "answer"),
    [
        (FREE, (None, False)),
        (replace(FREE, state=None), (404, False)),
        (replace(FREE, state=None, stopping=True), (404, False)),
        (replace(FREE, stopping=True), (503, False)),
        (replace(FREE, state=LaneState.DELETING), (503, False)),
        (replace(FREE, state=LaneState.LOADING, warm=False), (503, True)),
        (replace(FREE, state=LaneState.FAILED, warm=False), (503, True)),
        (replace(FREE, warm=False), (503, True)),
        (replace(FREE, open_sessions=2), (429, True)),
        (replace(FREE, awaited_sessions=1), (429, True)),
        (replace(FREE, open_sessions=0, awaited_sessions=1), (None, False)),
        (replace(FREE, sockets=2 * SOCKETS_OF_A_SESSION - 1), (None, False)),
        (replace(FREE, sockets=2 * SOCKETS_OF_A_SESSION), (429, True)),
    ],
)
def test_a_session_on_a_lane(facts: SessionFacts, answer: tuple[int | None, bool]) -> None:
    assert status(facts) == answer


@pytest.mark.parametrize(
    ("authenticated", "control_plane", "bound", "takes_sessions", "answer"),
    [
        (True, None, BOUND, True, None),
        (True, "here", BOUND, True, None),
        (True, "there", Binding(None, None), True, None),
        (True, "there", BOUND, True, 403),
        (False, "there", BOUND, True, 401),
        (False, "here", BOUND, False, 403),
        (True, "here", BOUND, False, 403),
    ],
)
def test_a_caller(
    authenticated: bool, control_plane: str | None, bound: Binding, takes_sessions: bool, answer: int | None
) -> None:
    caller = Caller(authenticated, control_plane, None)
    refusal = decide_session_caller(caller, bound, takes_sessions=takes_sessions)
    assert (None if refusal is None else refusal.status) == answer
