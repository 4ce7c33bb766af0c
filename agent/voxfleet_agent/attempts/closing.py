"""What the last renewal asked of this Mac: to take nothing, to call attempts back, to stop. Nothing of it is stored.

A restarted agent hears it again with the first renewal; one without contact goes by what it heard last.
"""

from __future__ import annotations

import asyncio

from voxfleet_agent.clock import Clock
from voxfleet_api.protocol import RenewRequest


class MacClosing:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._refuses_new = False
        self._return_at_seconds: float | None = None
        self.stop_at_seconds: float | None = None
        """No lease lasts beyond this time on the lease clock."""
        self._called_back = asyncio.Event()

    @property
    def takes_nothing(self) -> bool:
        return self._refuses_new or self.calls_back or self.stopped

    @property
    def calls_back(self) -> bool:
        """Whether attempts are to end after the clips in flight."""
        return self._is_over(self._return_at_seconds)

    @property
    def stopped(self) -> bool:
        return self._is_over(self.stop_at_seconds)

    async def wait(self) -> None:
        """Returns once attempts are called back, as `look` or a renewal finds."""
        await self._called_back.wait()

    def renewed(self, request: RenewRequest) -> None:
        """Takes what a renewal asks in place of what the one before asked."""
        self._refuses_new = request.takes_nothing
        self._return_at_seconds = self._in(request.return_after_seconds)
        self.stop_at_seconds = self._in(request.stop_after_seconds)
        self.look()

    def look(self) -> None:
        """Wakes who waits if the time has come; to be called now and then."""
        if self.calls_back:
            self._called_back.set()
        else:
            self._called_back.clear()

    def _in(self, seconds: int | None) -> float | None:
        return None if seconds is None else self._clock.lease_seconds() + seconds

    def _is_over(self, at_seconds: float | None) -> bool:
        return at_seconds is not None and self._clock.lease_seconds() >= at_seconds
