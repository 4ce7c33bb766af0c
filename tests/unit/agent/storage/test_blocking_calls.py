"""Blocking calls beside the event loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

from voxfleet_agent.storage.blocking_calls import in_thread


async def test_it_gives_the_result_and_raises_the_error() -> None:
    assert await in_thread(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancelled_caller_goes_on_when_the_thread_has_let_go(fails: bool) -> None:
    """Otherwise a descriptor would be closed, and its number used again, under a thread that still writes to it."""
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        may_end.wait(10)
        ended.set()
        if fails:
            raise OSError

    task = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
