"""Tasks that run for as long as the process does. One that ends by itself ends the process: nobody would miss it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack

import structlog

log = structlog.get_logger(__name__)


class BackgroundEnded(Exception):
    """A task of which the process is made has ended."""


class BackgroundTasks:
    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Raises BackgroundEnded, once."""
        self.ended.add_done_callback(lambda ended: ended.exception())  # whether anyone waits for it or not
        self._stopping = False

    def start(self, stack: AsyncExitStack, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        """Starts a task that is cancelled with the stack."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._task_ended)

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        stack.push_async_callback(end)
        return task

    def stopping(self) -> None:
        """From now on tasks may end."""
        self._stopping = True

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.error("background task failed", task=task.get_name(), exc_info=error)
        if not self._stopping and not self.ended.done():
            why = "it returned" if error is None else f"{type(error).__name__}: {error}"
            self.ended.set_exception(BackgroundEnded(f"{task.get_name()}: {why}"))
