"""Runs blocking calls in threads, so that the event loop continues."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def in_thread(call: Callable[[], T]) -> T:
    """Like asyncio.to_thread, but a cancelled caller waits until the thread no longer uses its files."""
    task = asyncio.create_task(asyncio.to_thread(call))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # nothing else retrieves it
        raise


async def in_reader_thread(call: Callable[[], T]) -> T:
    """Runs a call that uses a RangeReader.

    The reads wait for the event loop, whose own work needs the threads of asyncio.to_thread. If readers occupied all of
    those threads, the process would deadlock.
    """
    return await in_own_thread(call)


async def in_own_thread(call: Callable[[], T]) -> T:
    """Runs a call that may block for long in a thread of its own, which does not delay the exit of the process."""
    done: Future[T] = Future()

    def run() -> None:
        if not done.set_running_or_notify_cancel():
            return
        try:
            done.set_result(call())
        except BaseException as error:  # noqa: BLE001 -- re-raised in the caller
            done.set_exception(error)

    threading.Thread(target=run, name="reader", daemon=True).start()
    return await asyncio.wrap_future(done)
