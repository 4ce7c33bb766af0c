"""Percentiles out of histograms, sums and differences of what agents count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from voxfleet_api.endpoint_latency import (
    BOUNDS_MILLISECONDS,
    BUCKETS,
    MOST,
    MOST_SLOW_PERCENT,
    Histogram,
    KindLatency,
    bucket_of,
    difference,
    is_beyond,
    percentile_milliseconds,
    summed,
)
from voxfleet_shared.percentile import percentile

KIND = "FinalText"
TIMES = st.lists(st.integers(0, 80_000), min_size=1, max_size=60)
TARGETS = st.integers(10, 60_000)


def turns(*milliseconds: int, target: int | None = None) -> KindLatency:
    counts = [0] * BUCKETS
    for time in milliseconds:
        counts[bucket_of(time)] += 1
    slow = 0 if target is None else sum(time > target for time in milliseconds)
    total = Histogram(counts=tuple(counts), sum_milliseconds=sum(milliseconds))
    return KindLatency(latency=KIND, turns=len(milliseconds), slow=slow, total=total)


@pytest.mark.parametrize(
    ("milliseconds", "bucket"),
    [(0, 0), (10, 0), (11, 1), (1_000, BOUNDS_MILLISECONDS.index(1_000)), (60_000, BUCKETS - 2), (60_001, BUCKETS - 1)],
)
def test_a_bucket_ends_with_its_bound(milliseconds: int, bucket: int) -> None:
    assert bucket_of(milliseconds) == bucket


@pytest.mark.parametrize(
    ("times", "target", "percentiles"),
    [
        ((), 1_000, (None, None, None)),
        ((5,), None, (10, 10, 10)),
        ((1_000,), 1_000, (1_000, 1_000, 1_000)),
        ((1_001,), 1_000, (1_200, 1_200, 1_200)),
        ((400,) * 19 + (1_500,), 1_000, (353, 400, 1_500)),
        ((400,) * 18 + (1_500,) * 2, 1_000, (356, 1_350, 1_500)),
        ((700,) * 90 + (790,) * 10, 750, (656, 775, 795)),  # the target lies within a bucket
        ((90_000,), None, (60_000, 60_000, 60_000)),
        ((90_000,), 60_000, (60_001, 60_001, 60_001)),
    ],
)
def test_percentiles(times: tuple[int, ...], target: int | None, percentiles: tuple[int | None, ...]) -> None:
    found = turns(*times, target=target)
    assert tuple(percentile_milliseconds(found, percent, target) for percent in (50, 95, 99)) == percentiles


@given(TIMES, TARGETS)
def test_the_p95_is_beyond_the_target_exactly_if_too_many_turns_are(times: list[int], target: int) -> None:
    found = turns(*times, target=target)
    p95 = percentile_milliseconds(found, 100 - MOST_SLOW_PERCENT, target)
    assert p95 is not None and (p95 > target) == is_beyond(found.turns, found.slow)


@given(TIMES, st.one_of(st.none(), TARGETS))
def test_a_percentile_lies_in_the_bucket_of_the_true_one_and_they_ascend(times: list[int], target: int | None) -> None:
    found = turns(*times, target=target)
    percents = (50, 95, 99)
    read = [percentile_milliseconds(found, percent, target) or 0 for percent in percents]
    assert read == sorted(read)
    for percent, milliseconds in zip(percents, read, strict=True):
        true = percentile(sorted(times), percent)
        assert bucket_of(min(milliseconds, BOUNDS_MILLISECONDS[-1])) == min(bucket_of(true), BUCKETS - 2)


@given(TIMES, TIMES)
def test_a_difference_is_what_was_added(before: list[int], more: list[int]) -> None:
    old, new = turns(*before, target=1_000), turns(*more, target=1_000)
    both = summed((old, new), KIND)
    assert both == turns(*before, *more, target=1_000)
    assert difference(both, old) == new and difference(old, both) is None


def test_counts_from_elsewhere_stay_within_their_bounds() -> None:
    most = KindLatency(latency=KIND, turns=MOST, total=Histogram(sum_milliseconds=MOST))
    assert summed((most, most), KIND).turns == MOST
    for wrong in ({"turns": -1}, {"turns": MOST + 1}, {"total": {"counts": [1, 2]}}):
        with pytest.raises(ValidationError):
            KindLatency.load({"latency": KIND, **wrong})
