"""Every state of an endpoint's lane with every event, and what follows for any order of events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.endpoint_lanes.state_machine import (
    TABLE,
    InvalidLaneTransition,
    LaneEvent,
    lane_transition,
)
from voxfleet_api.endpoint_lanes import LaneState

S, E = LaneState, LaneEvent
ENDS = (E.LAPSED, E.SUPERSEDED, E.DELETE)

EXPECTED = [
    # state, event, next state, whether it is given back
    (S.LOADING, E.WARM, S.READY, False),
    (S.LOADING, E.COLD, S.LOADING, False),
    (S.LOADING, E.FAILED, S.FAILED, True),
    (S.READY, E.WARM, S.READY, False),
    (S.READY, E.COLD, S.LOADING, False),
    (S.FAILED, E.RETRIED, S.LOADING, False),
    *((state, end, S.DELETING, True) for state in (S.LOADING, S.READY, S.FAILED) for end in ENDS),
    *((S.DELETING, event, S.DELETING, False) for event in (E.WARM, E.COLD, E.FAILED, *ENDS)),
]


@pytest.mark.parametrize(("state", "event", "target", "gives_back"), EXPECTED)
def test_every_transition(state: LaneState, event: LaneEvent, target: LaneState, gives_back: bool) -> None:
    found = lane_transition(state, event)
    assert (found.state, found.gives_back) == (target, gives_back)


def test_nothing_else_can_happen() -> None:
    assert set(TABLE) == {(state, event) for state, event, _, _ in EXPECTED}
    with pytest.raises(InvalidLaneTransition, match="Warm cannot happen to a lane that is Failed"):
        lane_transition(S.FAILED, E.WARM)


@given(st.lists(st.sampled_from(list(LaneEvent)), max_size=30))
def test_a_lane_that_is_held_is_given_back_before_it_is_held_no_more(events: list[LaneEvent]) -> None:
    state, holds = S.LOADING, True
    for event in events:
        if (state, event) not in TABLE:
            continue
        step = lane_transition(state, event)
        holds = (holds or event is E.RETRIED) and not step.gives_back
        assert state is not S.DELETING or step.state is S.DELETING
        state = step.state
        assert holds is (state in (S.LOADING, S.READY))
