"""Every state of an endpoint's lane with every event, and what follows for any order of events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.endpoint_lanes.state_machine import (
    TABLE,
    InvalidLaneTransition,
    LaneAction,
    LaneEvent,
    lane_transition,
)
from voxfleet_api.endpoint_lanes import LaneState

S, E, A = LaneState, LaneEvent, LaneAction
ENDS = (E.LAPSED, E.SUPERSEDED, E.DELETE)

EXPECTED = [
    # state, event, next state, actions
    (S.LOADING, E.PUT, S.LOADING, ()),
    (S.LOADING, E.WARM, S.READY, ()),
    (S.LOADING, E.COLD, S.LOADING, ()),
    (S.LOADING, E.FAILED, S.FAILED, (A.GIVE_BACK,)),
    (S.READY, E.PUT, S.READY, ()),
    (S.READY, E.WARM, S.READY, ()),
    (S.READY, E.COLD, S.LOADING, ()),
    (S.FAILED, E.PUT, S.FAILED, ()),
    (S.FAILED, E.RETRIED, S.LOADING, (A.LOAD,)),
    *((state, end, S.DELETING, (A.GIVE_BACK, A.FORGET)) for state in (S.LOADING, S.READY, S.FAILED) for end in ENDS),
    *((S.DELETING, event, S.DELETING, ()) for event in (E.PUT, E.WARM, E.COLD, E.FAILED, *ENDS)),
]


@pytest.mark.parametrize(("state", "event", "target", "actions"), EXPECTED)
def test_every_transition(
    state: LaneState, event: LaneEvent, target: LaneState, actions: tuple[LaneAction, ...]
) -> None:
    found = lane_transition(state, event)
    assert (found.state, found.actions) == (target, actions)


def test_nothing_else_can_happen() -> None:
    assert set(TABLE) == {(state, event) for state, event, _, _ in EXPECTED}
    with pytest.raises(InvalidLaneTransition, match="Warm cannot happen to a lane that is Failed"):
        lane_transition(S.FAILED, E.WARM)


@given(st.lists(st.sampled_from(list(LaneEvent)), max_size=30))
def test_a_lane_is_given_back_once_and_never_returns_from_its_end(events: list[LaneEvent]) -> None:
    state, holds, forgotten = S.LOADING, True, 0
    for event in events:
        if (state, event) not in TABLE:
            continue
        step = lane_transition(state, event)
        if A.LOAD in step.actions:
            assert not holds
            holds = True
        if A.GIVE_BACK in step.actions:
            holds = False
        forgotten += A.FORGET in step.actions
        assert state is not S.DELETING or step.state is S.DELETING
        state = step.state
        assert holds is (state in (S.LOADING, S.READY))
        assert forgotten == (state is S.DELETING)
