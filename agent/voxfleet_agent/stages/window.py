"""How far fetching may run ahead of the lane."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Window:
    """Clips between their reservation and their row, bounded by count and by bytes."""

    def __init__(self, clips: Callable[[], int], limit_bytes: int) -> None:
        """`clips`: the most at this moment; the lane's batch size may change."""
        self._clips = clips
        self._limit_bytes = limit_bytes
        self._sizes_bytes: list[int] = []
        self._left = asyncio.Event()

    async def enter(self, size_bytes: int) -> None:
        """Waits for room; a clip larger than all of it goes alone. One caller at a time."""
        while self._sizes_bytes and (
            len(self._sizes_bytes) >= self._clips() or sum(self._sizes_bytes) + size_bytes > self._limit_bytes
        ):
            self._left.clear()
            await self._left.wait()
        self._sizes_bytes.append(size_bytes)

    def leave(self, size_bytes: int) -> None:
        self._sizes_bytes.remove(size_bytes)
        self._left.set()
