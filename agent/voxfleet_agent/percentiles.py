"""Nearest-rank percentiles."""

from __future__ import annotations

from collections.abc import Sequence

from voxfleet_api.base import SpecModel


class Percentiles(SpecModel):
    """Nearest-rank percentiles in milliseconds."""

    p50: int
    p95: int
    p99: int
    max: int


def percentiles(values: Sequence[int]) -> Percentiles:
    """`values`: milliseconds in any order, at least one."""
    ordered = sorted(values)

    def rank(percent: int) -> int:
        return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]

    return Percentiles(p50=rank(50), p95=rank(95), p99=rank(99), max=ordered[-1])
