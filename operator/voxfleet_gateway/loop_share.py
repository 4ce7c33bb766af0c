"""A client's share of the event loop, however small the pieces are that it sends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SLICE_SECONDS = 0.002


class LoopShare:
    """Whoever reads what is there already never waits, and so would keep the loop until all of it is read: a quarter
    MiB of frames of one byte takes a second. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ends_seconds = clock() + SLICE_SECONDS

    async def take(self) -> None:
        """To be called before each piece: lets the others run once a slice is over."""
        if self._clock() >= self._ends_seconds:
            await asyncio.sleep(0)
            self._ends_seconds = self._clock() + SLICE_SECONDS
