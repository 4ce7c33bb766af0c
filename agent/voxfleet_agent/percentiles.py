"""Nearest-rank percentiles: each is a value that occurred."""

from __future__ import annotations

from collections.abc import Sequence

from voxfleet_api.base import SpecModel
from voxfleet_shared.percentile import percentile


class Percentiles(SpecModel):
    """Nearest-rank percentiles in milliseconds."""

    p50: int
    p95: int
    p99: int
    max: int


def percentiles(values: Sequence[int]) -> Percentiles:
    """`values`: milliseconds in any order, at least one. Raises IndexError without any."""
    ascending = sorted(values)
    p50, p95, p99 = (percentile(ascending, percent) for percent in (50, 95, 99))
    return Percentiles(p50=p50, p95=p95, p99=p99, max=ascending[-1])
