"""Sends what a Mac's mailbox, or its orders about lanes, hold, some calls at a time, while there is contact."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Generic, Protocol, TypeVar

CALLS_AT_ONCE = 4
"""Of the connections to an agent, the others are for events, renewals and history, and for lanes."""

L_co = TypeVar("L_co", covariant=True)
L = TypeVar("L")


class Letters(Protocol[L_co]):
    def next(self, now: float) -> L_co | None:
        """Takes out the next call."""
        ...

    def next_due_seconds(self) -> float:
        """When `next` may have a call although nothing was stated or answered meanwhile; infinity if never."""
        ...


class Delivery(Generic[L]):
    """One Mac's. `send` makes the call, and tells the mailbox the answer whatever happens."""

    def __init__(self, mailbox: Letters[L], clock: Callable[[], float], *, calls_at_once: int = CALLS_AT_ONCE) -> None:
        self._mailbox = mailbox
        self._clock = clock
        self._calls_at_once = calls_at_once
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """To be called after something was stated."""
        self._changed.set()

    async def run(self, send: Callable[[L], Awaitable[None]]) -> None:
        """Runs until it is cancelled; raises what `send` raises."""
        await first_of(*(self._serve(send) for _ in range(self._calls_at_once)))

    async def _serve(self, send: Callable[[L], Awaitable[None]]) -> None:
        while True:
            self._changed.clear()
            letter = self._mailbox.next(self._clock())
            if letter is None:
                await wait(self._changed, self._mailbox.next_due_seconds() - self._clock())
                continue
            await send(letter)
            self._changed.set()  # the shard's next call may go now


async def first_of(*coroutines: Coroutine[object, object, object]) -> None:
    """Runs all coroutines until one ends, cancels the others, and raises what the first one raised."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Returns once the event is set or the time is over; `seconds` may be infinite."""
    try:
        async with asyncio.timeout(None if seconds == float("inf") else max(0.0, seconds)):
            await event.wait()
    except TimeoutError:
        return
