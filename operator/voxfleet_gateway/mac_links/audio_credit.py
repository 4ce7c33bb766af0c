"""How much audio may be sent ahead of what the lane took."""

from __future__ import annotations

import asyncio


class AudioCredit:
    def __init__(self, window_bytes: int) -> None:
        self._window_bytes = window_bytes
        self._sent_bytes = 0
        self._taken_bytes = 0
        self._changed = asyncio.Event()
        self._over = False

    @property
    def left_bytes(self) -> int:
        return max(0, self._window_bytes - (self._sent_bytes - self._taken_bytes))

    def taken(self, total_bytes: int) -> None:
        """Totals only grow, and never beyond what was sent: no agent makes the window larger than it said."""
        self._taken_bytes = min(max(self._taken_bytes, total_bytes), self._sent_bytes)
        self._changed.set()

    def end(self) -> None:
        """Nobody waits any more."""
        self._over = True
        self._changed.set()

    async def claim(self, wanted_bytes: int, whole_bytes: int) -> int:
        """Waits until some of it may be sent; returns how much: a multiple of `whole_bytes`, or 0 once it is over."""
        while not self._over:
            granted = min(wanted_bytes, self.left_bytes)
            granted -= granted % whole_bytes
            if granted > 0:
                self._sent_bytes += granted
                return granted
            self._changed.clear()
            await self._changed.wait()
        return 0
