"""A lane counts as contended only when many batches say so, for minutes, beside what its own ladder measured."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.agent.ladder.measured_mac import BATCH, BATCH_MILLISECONDS, CLIP_MILLISECONDS, TABLE

from voxfleet_agent.ladder.contention import (
    CLEAR_BELOW,
    CONTENDED_FROM,
    FORGET_SECONDS,
    HOLD_SECONDS,
    MIN_BATCHES,
    WINDOW_SECONDS,
    Finding,
    LaneVerdict,
    PaceSample,
    judge,
    pace_sample,
    slowdown,
    still,
)
from voxfleet_api.ladder_table import LadderTable


def sample(
    *,
    infer: int = BATCH_MILLISECONDS,
    audio: int = CLIP_MILLISECONDS,
    batch: int = BATCH,
    lanes: int = 1,
    at: float = 0.0,
    table: LadderTable = TABLE,
) -> PaceSample | None:
    return pace_sample(
        table,
        audio_milliseconds=audio,
        infer_milliseconds=infer,
        batch_size=batch,
        lanes_at_work=lanes,
        now_seconds=at,
    )


@pytest.mark.parametrize(
    ("infer", "audio", "batch", "lanes", "expected"),
    [
        (400, 10_000, 4, 1, 1.0),
        (800, 10_000, 4, 1, 2.0),
        (150, 10_000, 1, 1, 1.0),  # its own tier, not that of the chosen size
        (800, 20_000, 4, 1, 1.0),  # twice as long, in twice the time
        (800, 10_000, 4, 2, 1.0),  # two lanes of this agent at work: they are no co-tenants
        (400, 4_900, 4, 1, None),  # too short for the ladder to say anything
        (400, 20_100, 4, 1, None),
        (400, 10_000, 3, 1, None),  # no tier of this size
        (400, 0, 4, 1, None),
    ],
)
def test_a_clip_is_held_against_the_tier_of_its_own_batch_size(
    infer: int, audio: int, batch: int, lanes: int, expected: float | None
) -> None:
    found = sample(infer=infer, audio=audio, batch=batch, lanes=lanes)
    assert (None if found is None else found.slowdown) == (expected if expected is None else pytest.approx(expected))


def test_a_model_that_works_on_one_clip_at_a_time_has_nothing_to_be_held_against() -> None:
    assert sample(table=TABLE.model_copy(update={"tiers": ()})) is None


def batches(slowdowns: Sequence[float], *, at: float = 0.0, milliseconds: float = 400) -> list[PaceSample]:
    """The clips of whole batches."""
    return [PaceSample(at, times, 1 / BATCH, milliseconds / BATCH) for times in slowdowns for _ in range(BATCH)]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (batches([1.0] * MIN_BATCHES), 1.0),
        (batches([2.0] * MIN_BATCHES), 2.0),
        (batches([1.0] * (MIN_BATCHES - 1)), None),
        (batches([1.0] * MIN_BATCHES)[:-1], None),
        (batches([1.0] * MIN_BATCHES, milliseconds=1), None),  # timed in whole milliseconds
        (batches([1.0] * MIN_BATCHES, at=-WINDOW_SECONDS - 1), None),
        (batches([1.0, 1.0, 9.0, 1.0, 9.0]), 1.0),
        ([*batches([1.0] * 4, at=-WINDOW_SECONDS - 1), *batches([3.0] * MIN_BATCHES)], 3.0),
        ([], None),
    ],
)
def test_it_is_the_median_of_enough_recent_batches(samples: Sequence[PaceSample], expected: float | None) -> None:
    assert slowdown(samples, 0.0) == expected


@given(
    usual=st.lists(st.floats(0.8, 1.2), min_size=MIN_BATCHES, max_size=20),
    odd=st.lists(st.floats(0.01, 1000), max_size=20),
    order=st.randoms(use_true_random=False),
)
def test_fewer_than_half_odd_batches_never_show(usual: list[float], odd: list[float], order: object) -> None:
    found = slowdown(batches([*usual, *odd[: len(usual) - 1]]), 0.0)
    assert found is not None and min(usual) <= found <= max(usual)


UNKNOWN = LaneVerdict()


def run(steps: Sequence[tuple[float, float | None]], verdict: LaneVerdict = UNKNOWN) -> list[Finding]:
    """What is found at each (second, slowdown)."""
    found = []
    for at, times in steps:
        verdict = judge(verdict, times, at)
        found.append(verdict.finding)
    return found


U, CLEAR, CONTENDED = Finding.UNKNOWN, Finding.CLEAR, Finding.CONTENDED
H = HOLD_SECONDS


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(0, 2.0), (H - 1, 2.0), (H, 2.0)], [U, U, CONTENDED]),
        ([(0, 1.0), (H, 1.0)], [U, CLEAR]),
        ([(0, 2.0), (H / 2, 1.0), (H, 2.0), (2 * H - 1, 2.0), (2 * H, 2.0)], [U, U, U, U, CONTENDED]),
        ([(0, 2.0), (H / 2, None), (H, 2.0)], [U, U, U]),  # nothing was heard meanwhile
        ([(0, 1.4), (H, 1.4)], [U, U]),  # between both bounds
        ([(0, 2.0), (H, 2.0), (H + 1, 1.4), (3 * H, 1.4)], [U, CONTENDED, CONTENDED, CONTENDED]),
        ([(0, 2.0), (H, 2.0), (H + 1, 1.0), (2 * H + 1, 1.0)], [U, CONTENDED, CONTENDED, CLEAR]),
    ],
)
def test_a_verdict_turns_only_when_the_batches_say_the_same_for_a_while(
    steps: Sequence[tuple[float, float | None]], expected: list[Finding]
) -> None:
    assert run(steps) == expected


@given(
    st.lists(
        st.tuples(st.floats(0, 60), st.one_of(st.none(), st.floats(0.1, 10))),
        max_size=200,
    )
)
def test_verdicts_never_turn_twice_within_the_hold_and_never_against_what_is_found(
    steps: list[tuple[float, float | None]],
) -> None:
    verdict, now, turned_at = UNKNOWN, 0.0, -HOLD_SECONDS
    for wait, times in steps:
        now += wait
        before, verdict = verdict, judge(verdict, times, now)
        if verdict.finding is before.finding:
            assert verdict.slowdown == before.slowdown, "nothing that is told moves between two turns"
            continue
        assert now - turned_at >= HOLD_SECONDS
        assert times is not None
        assert times >= CONTENDED_FROM if verdict.finding is Finding.CONTENDED else times < CLEAR_BELOW
        turned_at = now


def test_a_verdict_stands_for_a_while_without_clips() -> None:
    verdict = judge(judge(UNKNOWN, 2.0, 0), 2.0, H)
    assert still(verdict, H + FORGET_SECONDS) == verdict
    assert still(verdict, H + FORGET_SECONDS + 1) == UNKNOWN
