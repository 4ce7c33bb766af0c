"""Blocking calls beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def in_thread(call: Callable[[], T]) -> T:
    """Like asyncio.to_thread, but a cancelled caller goes on only when the thread has let go of its files."""
    task = asyncio.create_task(asyncio.to_thread(call))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # nobody waits for it any more
        raise


async def in_reader_thread(call: Callable[[], T]) -> T:
    """For what uses a RangeReader.

    Its reads wait for the event loop, whose own work needs the threads of asyncio.to_thread: if readers took all of
    those, everybody would wait for everybody.
    """
    return await in_own_thread(call)


async def in_own_thread(call: Callable[[], T]) -> T:
    """For what may wait long for others: a thread for this call alone, which holds up no exit."""
    done: Future[T] = Future()

    def run() -> None:
        if not done.set_running_or_notify_cancel():
            return
        try:
            done.set_result(call())
        except BaseException as error:  # noqa: BLE001 -- the caller gets it
            done.set_exception(error)

    threading.Thread(target=run, name="reader", daemon=True).start()
    return await asyncio.wrap_future(done)
