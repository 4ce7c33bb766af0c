"""How a batch size is chosen from measured tiers."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.agent.ladder.paper_lane import MIB, make_tier

from voxfleet_agent.ladder.knees import Knees, decide_knees, explain
from voxfleet_api.ladder_table import LadderTable, LadderTier

SIZES = range(1, 9)


def make_tiers(fixed: float, each: float, *, peaks: list[int] | None = None) -> list[LadderTier]:
    """Tiers 1 to 8, whose batches take `fixed + each x size` milliseconds."""
    return [make_tier(size, fixed + each * size, peak_bytes=peaks[size - 1] if peaks else MIB) for size in SIZES]


def make_table(tiers: list[LadderTier], cap_bytes: int = MIB, tail_p95_milliseconds: int | None = None) -> LadderTable:
    knees = decide_knees(tiers, cap_bytes, tail_p95_milliseconds)
    return LadderTable(
        model_digest="sha256:" + "a" * 64,
        contract_digest="sha256:" + "b" * 64,
        chip="paper",
        versions={},
        sample_rate_hz=16_000,
        memory_cap_bytes=cap_bytes,
        tail_p95_milliseconds=tail_p95_milliseconds,
        tiers=tuple(tiers),
        memory_knee=knees.memory,
        latency_knee=knees.latency,
        throughput_knee=knees.throughput,
        chosen=knees.throughput,
    )


@pytest.mark.parametrize(
    ("fixed", "each", "knee"),
    [
        (0, 100, 1),  # a batch takes as long as its clips one by one: waiting gains nothing
        (100, 100, 1),
        (300, 100, 3),
        (500, 100, 5),
        (2000, 100, 8),
        (1000, 0, 8),  # further clips cost nothing: the knee is the last tier
    ],
)
def test_latency_knee_is_the_last_tier_that_gains_more_than_it_costs(fixed: float, each: float, knee: int) -> None:
    tiers = make_tiers(fixed, each)
    assert decide_knees(tiers, MIB).latency == knee
    by_size = {tier.batch_size: tier for tier in tiers}

    def worth(size: int) -> bool:
        above, below = by_size[size], by_size[size - 1]
        gain = above.audio_seconds_per_second / below.audio_seconds_per_second
        return gain > above.clip_p95_milliseconds / below.clip_p95_milliseconds

    assert all(worth(size) for size in range(2, knee + 1))
    assert not any(worth(size) for size in range(knee + 1, 9))


# Milliseconds of a batch of 1 to 8 clips, made up: four clips at a time are one and a half times as fast as one.
SUBLINEAR_MILLISECONDS = (27, 41, 57, 70, 88, 106, 124, 143)


def test_a_batch_that_is_half_as_fast_again_is_used_whatever_its_p95() -> None:
    """The latency knee would take one clip at a time, and the job would take half as long again."""
    tiers = [make_tier(size, milliseconds) for size, milliseconds in enumerate(SUBLINEAR_MILLISECONDS, start=1)]
    assert tiers[3].audio_seconds_per_second / tiers[0].audio_seconds_per_second > 1.5
    knees = decide_knees(tiers, MIB)
    assert (knees.latency, knees.throughput) == (1, 4)


@pytest.mark.parametrize(
    ("tail_p95_milliseconds", "throughput"), [(10_000, 8), (2800, 8), (2799, 7), (2100, 1), (2099, 1)]
)
def test_the_contract_s_tail_bounds_the_throughput_knee(tail_p95_milliseconds: int, throughput: int) -> None:
    knees = decide_knees(make_tiers(2000, 100), MIB, tail_p95_milliseconds)
    assert (knees.throughput, knees.memory) == (throughput, 8)


def test_the_best_throughput_is_that_of_the_tiers_which_may_be_used() -> None:
    tiers = [make_tier(1, 100), make_tier(2, 104, p95_milliseconds=104), make_tier(3, 108, p95_milliseconds=900)]
    assert decide_knees(tiers, MIB, 104).throughput == 2


@given(st.data())
def test_the_throughput_knee_gives_up_at_most_a_twentieth(data: st.DataObject) -> None:
    tiers, cap_bytes = data.draw(ladders())
    tail_p95_milliseconds = data.draw(st.one_of(st.none(), positive))
    knees = decide_knees(tiers, cap_bytes, tail_p95_milliseconds)
    allowed = [
        tier
        for tier in tiers
        if tier.batch_size <= knees.memory
        and tier.peak_rss_bytes <= cap_bytes
        and (tail_p95_milliseconds is None or tier.clip_p95_milliseconds <= tail_p95_milliseconds)
    ]
    if not allowed:
        assert knees.throughput in (1, tiers[0].batch_size)
        return
    speeds = {tier.batch_size: tier.audio_seconds_per_second for tier in allowed}
    assert speeds[knees.throughput] >= 0.95 * max(speeds.values())
    assert all(speed < 0.95 * max(speeds.values()) for size, speed in speeds.items() if size < knees.throughput)


def test_a_machine_whose_times_follow_no_line_is_judged_by_what_was_measured() -> None:
    # Up to 4 clips cost what 1 costs, and each further one as much as all before.
    times = (100, 100, 100, 100, 200, 300, 400, 500)
    assert decide_knees([make_tier(size, time) for size, time in enumerate(times, start=1)], MIB).latency == 4


def test_two_tiers_are_compared_as_they_were_measured() -> None:
    # Twice the clips in 1.3 times the time gain 1.54; the p95 alone decides.
    assert decide_knees([make_tier(1, 100), make_tier(2, 130, p95_milliseconds=150)], MIB).latency == 2
    assert decide_knees([make_tier(1, 100), make_tier(2, 130, p95_milliseconds=155)], MIB).latency == 1


def test_batches_that_cost_more_than_their_clips_are_not_used() -> None:
    for power in (1.5, 2, 4):
        assert decide_knees([make_tier(size, 10 * size**power) for size in SIZES], MIB).latency == 1


@pytest.mark.parametrize(
    ("peaks_mib", "cap_mib", "memory", "throughput"),
    [
        ([10, 20, 30, 40, 50, 60, 70, 80], 80, 8, 8),
        ([10, 20, 30, 40, 50, 60, 70, 80], 79, 7, 7),
        ([10, 20, 30, 40, 50, 60, 70, 80], 30, 3, 3),
        ([10, 20, 99, 40, 50, 60, 70, 80], 80, 2, 2),  # ends before the first tier that does not fit
        ([10, 20, 30, 40, 50, 60, 70, 80], 9, 1, 1),
    ],
)
def test_memory_knee_is_the_largest_tier_of_the_climb_under_the_cap(
    peaks_mib: list[int], cap_mib: int, memory: int, throughput: int
) -> None:
    knees = decide_knees(make_tiers(2000, 100, peaks=[peak * MIB for peak in peaks_mib]), cap_mib * MIB)
    assert (knees.memory, knees.throughput) == (memory, throughput)


def test_metal_memory_counts_where_it_is_the_larger() -> None:
    tiers = [
        make_tier(size, 500 + size, peak_bytes=10 * MIB).model_copy(update={"metal_peak_bytes": size * 10 * MIB})
        for size in SIZES
    ]
    assert decide_knees(tiers, 40 * MIB).memory == 4


def test_a_tier_over_the_cap_affects_no_other_knee() -> None:
    peaks = [MIB] * 6 + [5 * MIB] * 2
    swapping = make_tiers(2000, 100, peaks=peaks)
    swapping[6:] = [make_tier(7, 60_000, peak_bytes=5 * MIB), make_tier(8, 90_000, peak_bytes=5 * MIB)]
    assert decide_knees(swapping, MIB) == Knees(memory=6, latency=6, throughput=6)


def test_tiers_out_of_order_are_refused() -> None:
    for tiers in ([], [make_tier(2, 1), make_tier(1, 1)], [make_tier(1, 1), make_tier(1, 1)]):
        with pytest.raises(ValueError, match="ascending"):
            decide_knees(tiers, MIB)


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.5, 2.5, 3.5, 4.5, 6.0, 10.0, 40.0])
def test_repeated_measurements_agree_within_one_step(ratio: float) -> None:
    """2 % of noise in the throughput and 4 % in the p95, in which neighbouring tiers are indistinguishable."""
    noise = random.Random(7)  # noqa: S311 - a measurement error, no secret
    found = []
    for _ in range(200):
        tiers = [
            make_tier(
                size,
                1000 * (ratio + size) * noise.lognormvariate(0, 0.02),
                1000 * (ratio + size) * noise.lognormvariate(0, 0.04),
            )
            for size in SIZES
        ]
        found.append(decide_knees(tiers, MIB).latency)
    middle = statistics.median_low(found)
    assert [knee for knee in found if abs(knee - middle) > 1] == []


positive = st.integers(1, 10**6)


@st.composite
def ladders(draw: st.DrawFn) -> tuple[list[LadderTier], int]:
    sizes = sorted(draw(st.sets(st.integers(1, 8), min_size=1)))
    tiers = [make_tier(size, draw(positive), draw(positive), draw(positive)) for size in sizes]
    return tiers, draw(positive)


@given(ladders())
def test_any_measurement_gives_knees_among_the_tiers(case: tuple[list[LadderTier], int]) -> None:
    tiers, cap_bytes = case
    knees = decide_knees(tiers, cap_bytes)
    fitting = [tier.batch_size for tier in tiers if tier.peak_rss_bytes <= cap_bytes]
    assert knees.latency in [tier.batch_size for tier in tiers]
    assert knees.throughput <= knees.memory
    if tiers[0].peak_rss_bytes > cap_bytes:
        assert knees.memory == 1
    else:
        assert knees.memory in fitting
        assert knees.latency <= knees.memory
        assert knees.throughput in fitting


@given(ladders(), positive)
def test_more_memory_never_lowers_the_memory_knee(case: tuple[list[LadderTier], int], more_bytes: int) -> None:
    tiers, cap_bytes = case
    assert decide_knees(tiers, cap_bytes + more_bytes).memory >= decide_knees(tiers, cap_bytes).memory


@given(ladders(), st.integers(2, 1000))
def test_a_slower_machine_has_the_same_knees(case: tuple[list[LadderTier], int], factor: int) -> None:
    tiers, cap_bytes = case
    slower = [
        tier.model_copy(
            update={
                "infer_milliseconds": tier.infer_milliseconds * factor,
                "clip_p95_milliseconds": tier.clip_p95_milliseconds * factor,
            }
        )
        for tier in tiers
    ]
    assert decide_knees(slower, cap_bytes) == decide_knees(tiers, cap_bytes)


@pytest.mark.parametrize(
    ("tiers", "tail_p95_milliseconds", "words"),
    [
        (
            make_tiers(2000, 100),
            None,
            "8 is used, the throughput knee: the smallest within 5 % of the best throughput",
        ),
        (
            make_tiers(2000, 100, peaks=[MIB] * 4 + [9 * MIB] * 4),
            None,
            "4 is used, the throughput knee: the smallest within 5 % of the best throughput under the memory cap",
        ),
        (
            make_tiers(2000, 100),
            2500,
            "5 is used, the throughput knee: the smallest within 5 % of the best throughput under slo.offlineTailP95",
        ),
        (
            make_tiers(2000, 100, peaks=[MIB] * 6 + [9 * MIB] * 2),
            2500,
            "5 is used, the throughput knee: the smallest within 5 % of the best throughput under slo.offlineTailP95",
        ),
        (
            make_tiers(2000, 100, peaks=[MIB] * 5 + [9 * MIB] * 3),
            2500,
            "5 is used, the throughput knee: the smallest within 5 % of the best throughput under slo.offlineTailP95"
            " and the memory cap",
        ),
        (
            # The tiers that no limit allows are not faster.
            make_tiers(0, 100, peaks=[MIB] * 6 + [9 * MIB] * 2),
            500,
            "1 is used, the throughput knee: the smallest within 5 % of the best throughput",
        ),
        (make_tiers(2000, 100), 100, "1 is used: even its p95 is longer than slo.offlineTailP95"),
        ([make_tier(1, 10, peak_bytes=2 * MIB)], None, "1 is used: even batch size 1 needs more than the memory cap"),
        ([make_tier(1, 10)], None, "1 is used: no larger batch size could be measured"),
    ],
)
def test_the_choice_is_explained(tiers: list[LadderTier], tail_p95_milliseconds: int | None, words: str) -> None:
    assert explain(make_table(tiers, MIB, tail_p95_milliseconds)) == words


@given(ladders(), st.one_of(st.none(), positive))
def test_a_limit_is_named_when_without_it_another_batch_size_is_used(
    case: tuple[list[LadderTier], int], tail_p95_milliseconds: int | None
) -> None:
    tiers, cap_bytes = case
    table = make_table(tiers, cap_bytes, tail_p95_milliseconds)
    said = explain(table)
    assert said.startswith(f"{table.chosen} is used")
    no_cap, no_tail = 10**18, None
    if "even" in said or "no larger" in said:
        return
    decided_by_tail = decide_knees(tiers, cap_bytes, no_tail).throughput != table.chosen
    decided_by_cap = decide_knees(tiers, no_cap, tail_p95_milliseconds).throughput != table.chosen
    by_both = decide_knees(tiers, no_cap, no_tail).throughput != table.chosen and not (
        decided_by_tail or decided_by_cap
    )
    assert ("slo.offlineTailP95" in said) == (decided_by_tail or by_both)
    assert ("the memory cap" in said) == (decided_by_cap or by_both)
