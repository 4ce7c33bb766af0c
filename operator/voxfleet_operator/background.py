"""Tasks that run beside the workers. One that fails, or ends though it should not, ends the process: nobody would miss
it.
"""

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
        self._errands: set[asyncio.Task[None]] = set()

    def start(self, stack: AsyncExitStack, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        """Starts a task that is cancelled with the stack."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._task_ended)

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        stack.push_async_callback(end)
        return task

    def run_errand(self, work: Coroutine[object, object, None], name: str) -> None:
        """Starts a task that may end, but not fail."""
        task = asyncio.create_task(work, name=name)
        self._errands.add(task)
        task.add_done_callback(self._errand_ended)

    def stopping(self) -> None:
        """From now on tasks may end."""
        self._stopping = True

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._end(f"{task.get_name()}: it returned")
        else:
            self._failed(task, error)

    def _errand_ended(self, task: asyncio.Task[None]) -> None:
        self._errands.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(task, error)

    def _failed(self, task: asyncio.Task[None], error: BaseException) -> None:
        log.error("background task failed", task=task.get_name(), exc_info=error)
        self._end(f"{task.get_name()}: {type(error).__name__}: {error}")

    def _end(self, why: str) -> None:
        if not self._stopping and not self.ended.done():
            self.ended.set_exception(BackgroundEnded(why))
