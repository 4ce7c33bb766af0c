"""Batches taken from an iterator one at a time, and only when asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from voxfleet_agent.stages.stage import ClipTask


class Feed:
    def __init__(self, batches: AsyncIterator[Sequence[ClipTask]]) -> None:
        self._batches = batches
        self.asked: asyncio.Task[Sequence[ClipTask] | None] | None = None
        """The call for the next batch, until `take`."""
        self.ended = False

    def ask(self) -> None:
        """Does nothing when the next batch is on its way or there is none."""
        if self.asked is None and not self.ended:
            self.asked = asyncio.create_task(self._next())

    async def take(self) -> Sequence[ClipTask]:
        """The batch that was asked for; none at the end. Raises what the iterator raised."""
        asked, self.asked = self.asked, None
        batch = None if asked is None else await asked
        self.ended = batch is None
        return batch or ()

    async def close(self) -> None:
        """Cancels a call that is under way."""
        asked, self.asked = self.asked, None
        if asked is not None:
            asked.cancel()
            await asyncio.wait({asked})
            if not asked.cancelled():
                asked.exception()  # looked at, so that asyncio does not complain of it

    async def _next(self) -> Sequence[ClipTask] | None:
        return await anext(self._batches, None)
