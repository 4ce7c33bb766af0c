"""Sends what a Mac's mailbox holds, some calls at a time, for as long as there is contact."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

from voxfleet_operator.fleet.mailbox import Letter, Mailbox

CALLS_AT_ONCE = 4
"""Of the connections to an agent, the others are for events, renewals and history."""


class Delivery:
    """One Mac's. `send` makes the call, and tells the mailbox the answer whatever happens."""

    def __init__(self, mailbox: Mailbox, clock: Callable[[], float]) -> None:
        self._mailbox = mailbox
        self._clock = clock
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """To be called after something was stated."""
        self._changed.set()

    async def run(self, send: Callable[[Letter], Awaitable[None]]) -> None:
        """Runs until it is cancelled; raises what `send` raises."""
        await first_of(*(self._serve(send) for _ in range(CALLS_AT_ONCE)))

    async def _serve(self, send: Callable[[Letter], Awaitable[None]]) -> None:
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
