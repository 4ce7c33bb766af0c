"""For how long one attempt may work: as long as its lease lasts, and until this Mac calls its attempts back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from voxfleet_agent.attempts.closing import MacClosing


class LeasedPermit:
    """Implements stages.stage_context.WorkPermit."""

    def __init__(self, closing: MacClosing, lapsed: Callable[[], bool]) -> None:
        """`lapsed`: says whether the attempt's lease has expired, and has the attempt parked if so."""
        self._closing = closing
        self._lapsed = lapsed

    @property
    def called_back(self) -> bool:
        return self._closing.calls_back

    async def wait_called_back(self) -> None:
        await self._closing.wait()

    async def check(self) -> None:
        if self._lapsed():
            await asyncio.get_running_loop().create_future()  # until parking cancels the task
