"""Watches the memory of a lane's child, so that the Mac never swaps because of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum

import psutil

from voxfleet_agent import process_memory

SAMPLE_SECONDS = 0.25
GROWTH_PERCENT = 25
"""Share of the cap. A child whose footprint at rest has grown by more than this since its first batches leaks, and is
replaced by a fresh one."""
BASELINE_BATCHES = 3
"""The batches that set the baseline, because they fill caches that stay filled."""


class MemoryStep(StrEnum):
    KEEP = "Keep"
    RECYCLE = "Recycle"
    KILL = "Kill"


def memory_step(cap_bytes: int, baseline_bytes: int | None, footprint_bytes: int) -> MemoryStep:
    """Decides what happens to a child with this footprint.

    `baseline_bytes`: its footprint at rest after its first batches; None when unknown, or when the child works.
    """
    if footprint_bytes > cap_bytes:
        return MemoryStep.KILL
    if baseline_bytes is not None and footprint_bytes - baseline_bytes > cap_bytes * GROWTH_PERCENT // 100:
        return MemoryStep.RECYCLE
    return MemoryStep.KEEP


class RestingFootprint:
    """Compares the footprint of one child between batches with the footprint after its first ones."""

    def __init__(self) -> None:
        self._batches = 0
        self._baseline_bytes = 0

    def after_batch(self, cap_bytes: int, footprint_bytes: int) -> MemoryStep:
        """Decides what happens to the child now that a batch is done."""
        self._batches += 1
        if self._batches <= BASELINE_BATCHES:
            self._baseline_bytes = max(self._baseline_bytes, footprint_bytes)
            return memory_step(cap_bytes, None, footprint_bytes)
        return memory_step(cap_bytes, self._baseline_bytes, footprint_bytes)


async def watch(
    pid: int,
    cap_bytes: Callable[[], int],
    exceeded: Callable[[int], None],
    measure: Callable[[int], int] = process_memory.footprint_bytes,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Samples the child's footprint until the child is gone or over its cap; then calls `exceeded` with it, once.

    The footprint is the physical footprint on macOS, which macOS's own memory guard counts, and elsewhere the resident
    set.
    """
    while True:
        try:
            footprint_bytes = measure(pid)
        except psutil.NoSuchProcess:
            return
        if memory_step(cap_bytes(), None, footprint_bytes) is MemoryStep.KILL:
            exceeded(footprint_bytes)
            return
        await pause(SAMPLE_SECONDS)
