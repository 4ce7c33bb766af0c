"""How values spread: percentiles, and counts in buckets that are the same for every job. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from voxfleet_api.base import StatusModel
from voxfleet_shared.percentile import percentile

_STEPS = (10, 15, 20, 30, 50, 70)
EDGES = (0, 1, 2, 3, 5, 7, *(step * 10**power for power in range(6) for step in _STEPS), 10_000_000)
"""Where buckets begin, up to about 2.8 hours in milliseconds. The last bucket has no end."""


class Bucket(StatusModel):
    start: int
    end: int | None
    """Exclusive; None: no end."""
    count: int


class Distribution(StatusModel):
    """Values of some clips, in milliseconds, or in thousandths of a ratio. Percentiles are nearest-rank."""

    clips: int
    p50: int
    p95: int
    p99: int
    max: int
    buckets: tuple[Bucket, ...] = ()
    """From the first that is not empty to the last, without gaps."""


def distribution(values: Sequence[int]) -> Distribution | None:
    """`values`: in any order; None without any."""
    if not values:
        return None
    ascending = sorted(values)
    counts = [0] * len(EDGES)
    for value in ascending:
        counts[max(0, bisect_right(EDGES, value) - 1)] += 1
    filled = [number for number, found in enumerate(counts) if found]
    ends = (*EDGES[1:], None)
    p50, p95, p99 = (percentile(ascending, percent) for percent in (50, 95, 99))
    return Distribution(
        clips=len(ascending),
        p50=p50,
        p95=p95,
        p99=p99,
        max=ascending[-1],
        buckets=tuple(
            Bucket(start=EDGES[number], end=ends[number], count=counts[number])
            for number in range(filled[0], filled[-1] + 1)
        ),
    )
