"""Nearest-rank percentiles: each is a value that occurred. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def percentile(ascending: Sequence[int], percent: int) -> int:
    """The smallest value that at least `percent` of the values do not exceed. Raises IndexError without values."""
    return ascending[max(0, -(-len(ascending) * percent // 100) - 1)]
