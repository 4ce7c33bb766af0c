"""Tasks that run beside the calls, of which none fails unnoticed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine


class BackgroundTasks:
    """`failed` hears of each task that raised."""

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed
        self._tasks: set[asyncio.Task[None]] = set()
        self._repeated: list[asyncio.Task[None]] = []

    def start(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def repeat(self, pause_seconds: float, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Does the work again and again, the first time after a pause, until `stop_repeating` or until it raises."""
        self._repeated.append(self.start(_again_and_again(pause_seconds, work)))

    def stop_repeating(self) -> None:
        for task in self._repeated:
            task.cancel()

    async def wait(self) -> None:
        """Until those that run now have ended, however they end."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)


async def _again_and_again(pause_seconds: float, work: Callable[[], Coroutine[None, None, None]]) -> None:
    while True:
        await asyncio.sleep(pause_seconds)
        await work()
