"""The lanes of a Mac by pool, and the one rule by which all that its memory is promised to must fit. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class PoolKind(StrEnum):
    """What the lanes of a pool work on. A lane of one kind is never lent to the work of the other."""

    OFFLINE = "Offline"  # the batches of jobs
    INTERACTIVE = "Interactive"  # people who speak and listen


class LanesOfAKind(Protocol):
    """A pool, as whoever counts lanes sees it."""

    @property
    def kind(self) -> str: ...

    @property
    def lanes(self) -> int: ...


def lanes_of(pools: Iterable[LanesOfAKind], kind: PoolKind) -> int:
    """The lanes of all pools of this kind."""
    return sum(pool.lanes for pool in pools if pool.kind == kind)


POOL_NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
MAX_POOL_NAME, MAX_POOLS, MAX_LANES, MAX_RESERVED = 32, 8, 16, 16
"""What a Mac may have: characters of a name, pools, lanes of a pool, co-tenants."""

SYSTEM_MEMORY_PERCENT = 15
"""The share of the machine's memory that the operating system and the agent keep."""


@dataclass(frozen=True, slots=True)
class MemoryClaim:
    """What a Mac's memory is promised to."""

    name: str
    """Of the pool, or of the co-tenant."""
    size: str
    """The cap of each lane, or what the co-tenant needs, as people write it."""
    size_bytes: int
    lanes: int | None = None
    """None: it is reserved for a co-tenant."""

    @property
    def total_bytes(self) -> int:
        return self.size_bytes * (1 if self.lanes is None else self.lanes)

    def __str__(self) -> str:
        return (
            f"{self.size} (reserved: {self.name})"
            if self.lanes is None
            else f"{self.lanes} x {self.size} ({self.name})"
        )


def usable_memory_bytes(memory_bytes: int, gpu_working_set_bytes: int | None = None) -> int:
    """How much all lanes and co-tenants of a machine may take together.

    The system keeps its share, and beyond what the GPU may wire macOS pages a model out, or ends its work. None: the
    machine has no such limit.
    """
    rest_bytes = memory_bytes * (100 - SYSTEM_MEMORY_PERCENT) // 100
    return rest_bytes if gpu_working_set_bytes is None else min(rest_bytes, gpu_working_set_bytes)


def claimed_bytes(claims: Iterable[MemoryClaim]) -> int:
    return sum(claim.total_bytes for claim in claims)


def claims_text(claims: Iterable[MemoryClaim]) -> str:
    """`2 x 24Gi (offline) + 20Gi (reserved: text-llm) = 69632 MiB`"""
    listed = list(claims)
    return f"{' + '.join(map(str, listed))} = {claimed_bytes(listed) // 2**20} MiB"


def size_text(size_bytes: int) -> str:
    """A byte count as people write it: `24Gi`, `1536Mi`, `1000`."""
    for unit, unit_bytes in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if size_bytes and size_bytes % unit_bytes == 0:
            return f"{size_bytes // unit_bytes}{unit}"
    return str(size_bytes)
