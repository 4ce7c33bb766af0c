"""Slots in which attempts run, handed out in the order of asking."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from voxfleet_agent.stages.stage import Transcriber


class Lane(Transcriber, Protocol):
    """What the supervisor needs of a lane beside transcribing."""

    @property
    def name(self) -> str:
        """Pool and slot, such as `offline/0`."""
        ...

    @property
    def loaded_digest(self) -> str | None:
        """Digest of the model in its memory."""
        ...

    async def kill(self) -> None:
        """Ends the child at once; the next use starts another one. Does nothing when there is none."""
        ...


S = TypeVar("S")


class Slots(Generic[S]):
    """A fixed set. A claim is a future: done at once when a slot is free, otherwise when its turn comes."""

    def __init__(self, slots: Sequence[S]) -> None:
        self._free = deque(slots)
        self._waiting: deque[asyncio.Future[S]] = deque()
        self.total = len(slots)

    @property
    def free(self) -> int:
        return len(self._free)

    def claim(self) -> asyncio.Future[S]:
        claim: asyncio.Future[S] = asyncio.get_running_loop().create_future()
        if self._free:
            claim.set_result(self._free.popleft())
        else:
            self._waiting.append(claim)
        return claim

    def withdraw(self, claim: asyncio.Future[S]) -> None:
        """Ends a claim: a slot that was granted goes to the next in line."""
        if not claim.done():
            claim.cancel()
        elif not claim.cancelled():
            self._release(claim.result())

    def _release(self, slot: S) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(slot)
                return
        self._free.append(slot)
