"""The ways that a run can take, and those that a whole `make sim` has to take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

from tests.sim.faults import FAULTS

K = TypeVar("K")
V = TypeVar("V")
FULL_SEEDS = 1000
"""A run of so many seeds has to take every edge."""


class CountingTable(dict[K, V]):
    """A decision table that counts which of its cells are asked for."""

    def __init__(self, table: Mapping[K, V], edges: Counter[str], prefix: str) -> None:
        super().__init__(table)
        self._edges = edges
        self._prefix = prefix

    def __getitem__(self, key: K) -> V:
        found = super().__getitem__(key)
        names = key if isinstance(key, tuple) else (key,)
        self._edges[f"{self._prefix}{' x '.join(str(getattr(name, 'value', name)) for name in names)} = {found}"] += 1
        return found


EXPECTED: frozenset[str] = frozenset(f"fault.{kind}" for kind in FAULTS)


def never_taken(edges: Mapping[str, int]) -> list[str]:
    return sorted(edge for edge in EXPECTED if not edges.get(edge))
