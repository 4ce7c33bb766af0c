"""For how long one attempt may work: as long as its lease lasts, and until this Mac calls it or all attempts back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from voxfleet_agent.attempts.closing import MacClosing


class LeasedPermit:
    """Implements stages.stage_context.WorkPermit."""

    def __init__(
        self, closing: MacClosing, lapsed: Callable[[], bool], called_back: asyncio.Event | None = None
    ) -> None:
        """`lapsed`: says whether the attempt's lease has expired, and has the attempt parked if so. `called_back`: set
        when this attempt alone has to go.
        """
        self._closing = closing
        self._lapsed = lapsed
        self._called_back = called_back or asyncio.Event()

    @property
    def called_back(self) -> bool:
        return self._closing.calls_back or self._called_back.is_set()

    async def wait_called_back(self) -> None:
        waits = {asyncio.ensure_future(self._closing.wait()), asyncio.ensure_future(self._called_back.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def check(self) -> None:
        if self._lapsed():
            await asyncio.get_running_loop().create_future()  # until parking cancels the task
