"""Tells whether the event loop still runs; the leader's renewals and the probes depend on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

BEAT_SECONDS = 0.5
STALL_SECONDS = 5.0


class Heartbeat:
    """The event loop updates it; any thread may read it. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self._resumed_at = self._last
        self.stalls = 0
        """How often the loop stood still for over STALL_SECONDS."""

    def beat(self) -> None:
        now = self._clock()
        if now - self._last > STALL_SECONDS:
            self._resumed_at = now
            self.stalls += 1
        self._last = now

    def age_seconds(self) -> float:
        return self._clock() - self._last

    @property
    def stalled(self) -> bool:
        return self.age_seconds() > STALL_SECONDS

    @property
    def resumed_at_seconds(self) -> float:
        """When, on the clock, the loop started or last resumed after a stall."""
        return self._resumed_at

    async def run(self) -> None:
        while True:
            self.beat()
            await asyncio.sleep(BEAT_SECONDS)
