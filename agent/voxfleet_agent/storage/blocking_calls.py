"""Runs blocking calls in threads, so that the event loop continues."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


CANCEL_SECONDS = 10.0


async def in_thread(call: Callable[[], T]) -> T:
    """Like asyncio.to_thread, but a cancelled caller waits for the call, so that nothing uses its files any more.

    It waits for CANCEL_SECONDS at most: a disk may hang. For computing and for the disk of this agent alone; files of
    jobs go through MountCalls.
    """
    task = asyncio.create_task(asyncio.to_thread(call))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # nothing else retrieves it
        await asyncio.wait([task], timeout=CANCEL_SECONDS)
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
