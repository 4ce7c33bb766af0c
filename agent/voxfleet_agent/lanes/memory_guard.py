"""Watches the memory of a lane's child, so that the Mac never swaps for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum

import psutil

from voxfleet_agent.process_memory import footprint_bytes

SAMPLE_SECONDS = 0.25
GROWTH_PERCENT = 25
"""Of the cap: a child at rest that grew by more since its first batches leaks, and gives way to a fresh one."""
BASELINE_BATCHES = 3
"""The first batches fill caches that stay."""


class MemoryStep(StrEnum):
    KEEP = "Keep"
    RECYCLE = "Recycle"
    KILL = "Kill"


def judge(cap_bytes: int, baseline_bytes: int | None, footprint_bytes: int) -> MemoryStep:
    """What becomes of a child. `baseline_bytes`: at rest after its first batches; None: not known, or not at rest."""
    if footprint_bytes > cap_bytes:
        return MemoryStep.KILL
    if baseline_bytes is not None and footprint_bytes - baseline_bytes > cap_bytes * GROWTH_PERCENT // 100:
        return MemoryStep.RECYCLE
    return MemoryStep.KEEP


class RestingFootprint:
    """The footprint of one child between batches, against its first ones."""

    def __init__(self) -> None:
        self._batches = 0
        self._baseline_bytes = 0

    def note(self, cap_bytes: int, footprint_bytes: int) -> MemoryStep:
        """Judges the footprint after a batch."""
        self._batches += 1
        if self._batches <= BASELINE_BATCHES:
            self._baseline_bytes = max(self._baseline_bytes, footprint_bytes)
            return judge(cap_bytes, None, footprint_bytes)
        return judge(cap_bytes, self._baseline_bytes, footprint_bytes)


async def watch(
    pid: int,
    cap_bytes: Callable[[], int],
    exceeded: Callable[[int], None],
    measure: Callable[[int], int] = footprint_bytes,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Samples the child's footprint until it is gone or weighs too much; then `exceeded` is called, once.

    macOS: the physical footprint, which is what its own memory guard counts. Elsewhere: the resident set.
    """
    while True:
        try:
            weight_bytes = measure(pid)
        except psutil.NoSuchProcess:
            return
        if judge(cap_bytes(), None, weight_bytes) is MemoryStep.KILL:
            exceeded(weight_bytes)
            return
        await pause(SAMPLE_SECONDS)
