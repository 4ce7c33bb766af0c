"""No Mac takes the operator's time from the others, however much it tells."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voxfleet_operator.fleet.event_pace import BURST_EVENTS, EVENTS_A_SECOND, EventPace


@given(st.lists(st.floats(0, 0.1), min_size=100, max_size=5000))
def test_beyond_a_burst_no_more_events_are_handled_than_the_pace_allows(gaps: list[float]) -> None:
    """`gaps`: how long after the last one was handled each event is there."""
    now, pace = 0.0, EventPace(0.0)
    for handled, gap in enumerate(gaps, 1):
        now += gap
        now += pace.wait_seconds(now)
        assert handled <= BURST_EVENTS + EVENTS_A_SECOND * now + 1e-6


def test_a_backlog_is_read_at_once_and_a_liar_waits() -> None:
    pace = EventPace(0.0)
    assert [pace.wait_seconds(0.0) for _ in range(int(BURST_EVENTS))] == [0.0] * int(BURST_EVENTS)
    assert pace.wait_seconds(0.0) == 1 / EVENTS_A_SECOND


def test_who_tells_less_than_the_pace_never_waits() -> None:
    pace = EventPace(0.0)
    assert all(pace.wait_seconds(number / EVENTS_A_SECOND) == 0.0 for number in range(10_000))
