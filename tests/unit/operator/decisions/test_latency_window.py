"""The turns of a window, out of counts that only grow and sometimes begin anew."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from tests.rig.measured_turns import BEGUN, a_turn, counted

from voxfleet_api.session_protocol import LatencyKind
from voxfleet_operator.reconcile.endpoint.latency_window import (
    STEPS,
    LaneWindow,
    added,
    growth,
    looked_at,
    step_seconds,
    turns_within,
)

WINDOW_SECONDS = 300.0
POLL_SECONDS = 5.0


class Watched:
    """An agent's lane and the operator that looks at it."""

    def __init__(self, *already: int) -> None:
        self.now = 0.0
        self.lane = counted(*already)
        self.restarts = 0
        self.window: LaneWindow | None = None
        self.spoken: list[float] = []

    def restart(self) -> None:
        self.restarts += 1
        self.lane = counted(begun=BEGUN + timedelta(seconds=self.restarts))

    def speak(self, milliseconds: int = 400) -> None:
        self.lane.measured(a_turn(milliseconds))
        self.spoken.append(self.now)

    def look(self) -> int:
        """Returns what grew."""
        self.window, grew = looked_at(self.window, self.lane.told(), self.now, WINDOW_SECONDS)
        return sum(kind.turns for kind in grew.values())

    def within(self) -> int:
        assert self.window is not None
        return sum(kind.turns for kind in turns_within(self.window, self.now, WINDOW_SECONDS).values())

    def true(self, seconds: float) -> int:
        return sum(at > self.now - seconds for at in self.spoken)


def test_what_a_lane_had_counted_before_it_was_looked_at_is_of_no_window() -> None:
    watched = Watched(400, 1_500)
    assert watched.look() == 0 and watched.within() == 0
    watched.speak()
    assert watched.look() == 1 and watched.within() == 1


def test_a_turn_stays_for_the_window_and_at_most_a_step_and_a_look_longer() -> None:
    watched = Watched()
    watched.look()
    watched.speak()
    while watched.now < WINDOW_SECONDS:
        watched.look()
        assert watched.within() == 1
        watched.now += POLL_SECONDS
    watched.now += step_seconds(WINDOW_SECONDS) + POLL_SECONDS
    watched.look()
    assert watched.within() == 0


def test_it_leaves_although_nobody_looks_meanwhile() -> None:
    watched = Watched()
    watched.look()
    watched.now += 100.0
    watched.speak()
    watched.look()
    watched.now += WINDOW_SECONDS
    assert watched.within() == 0


def test_a_lane_that_began_anew_and_counts_more_by_now_is_counted_from_zero() -> None:
    before, after = counted(400), counted(400, 400, begun=BEGUN + timedelta(seconds=1))
    assert sum(kind.turns for kind in growth(before.told(), after.told()).values()) == 2


def test_few_steps_are_kept_however_long_a_lane_speaks() -> None:
    watched = Watched()
    for _ in range(400):
        watched.speak()
        watched.look()
        watched.now += POLL_SECONDS
    assert watched.window is not None and len(watched.window.steps) <= STEPS + 2


ACTS = st.lists(st.sampled_from(["speak", "speak", "wait", "wait", "long", "restart"]), max_size=120)


@given(ACTS)
def test_no_turn_is_lost_or_counted_twice_over_restarts_and_few_steps_are_kept(acts: list[str]) -> None:
    watched = Watched()
    watched.look()
    grown = 0
    for act in acts:
        match act:
            case "speak":
                watched.speak()
            case "restart":
                watched.restart()
            case _:
                watched.now += 90.0 if act == "long" else POLL_SECONDS
        grown += watched.look()
        assert watched.true(WINDOW_SECONDS) <= watched.within()
        assert watched.within() <= watched.true(WINDOW_SECONDS + 90.0 + step_seconds(WINDOW_SECONDS))
        assert watched.window is not None and len(watched.window.steps) <= STEPS + 2
    assert grown == len(watched.spoken)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=6))
def test_counts_that_go_back_without_another_beginning_are_counted_anew(turns: list[int]) -> None:
    before, after = (counted(*[400] * count).told() for count in turns[:2])
    grew = sum(kind.turns for kind in growth(before, after).values())
    assert grew == (turns[1] - turns[0] if turns[1] >= turns[0] else turns[1])


def test_kinds_are_kept_apart_and_added_by_kind() -> None:
    lane = counted()
    lane.measured(a_turn(400))
    lane.measured(a_turn(500, kind=LatencyKind.UPLOADED_TEXT))
    kinds = {kind.latency: kind for kind in lane.told().kinds}
    both = added((kinds, kinds))
    assert {name: kind.turns for name, kind in both.items()} == {"FinalText": 2, "UploadedText": 2}
    assert both["UploadedText"].total.sum_milliseconds == 1_000
