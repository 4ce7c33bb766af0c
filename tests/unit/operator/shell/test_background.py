"""What runs in the background either goes on or ends the process; it never falls silent."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import Any, cast

import pytest

from voxfleet_api.conditions import Reason
from voxfleet_operator.background import BackgroundEnded, BackgroundTasks
from voxfleet_operator.events import BURST, REPEAT_SECONDS, EventRecorder
from voxfleet_operator.kube import Json, Kube


async def returns() -> None:
    return


async def raises() -> None:
    raise TypeError("a fault of ours")


async def runs() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(("work", "why"), [(returns, "it returned"), (raises, "TypeError: a fault of ours")])
async def test_a_task_that_ends_by_itself_ends_the_process(work: Any, why: str) -> None:
    background = BackgroundTasks()
    async with AsyncExitStack() as stack:
        background.start(stack, cast("Coroutine[object, object, None]", work()), "events")
        with pytest.raises(BackgroundEnded, match=f"^events: {why}"):
            await background.ended


async def test_tasks_end_with_the_process() -> None:
    background = BackgroundTasks()
    async with AsyncExitStack() as stack:
        kept = background.start(stack, runs(), "heartbeat")
        stopped = background.start(stack, returns(), "worker-0")
        background.stopping()
        await stopped
    assert kept.cancelled() and not background.ended.done()


async def test_an_errand_may_end_but_not_fail() -> None:
    background = BackgroundTasks()
    background.run_errand(returns(), "raise-epoch")
    background.run_errand(raises(), "raise-epoch")
    with pytest.raises(BackgroundEnded, match=r"^raise-epoch: TypeError: a fault of ours"):
        await background.ended


class OddKube:
    """Fails once in a way that nobody foresaw."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.asked = 0

    async def request(self, method: str, path: str, *, body: Mapping[str, Any], timeout_seconds: float) -> Json:
        self.asked += 1
        if self.asked == 1:
            raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
        self.written.append(str(body["reason"]))
        return {}


async def test_an_event_that_cannot_be_written_costs_only_itself() -> None:
    kube = OddKube()
    recorder = EventRecorder(cast("Kube", kube), "operator-1")
    running = asyncio.create_task(recorder.run())
    about = {"kind": "MacAgent", "name": "mac-a", "uid": "u"}
    recorder.publish(about, Reason.ACCEPTED, "one")
    recorder.publish(about, Reason.RUNNING, "two")
    async with asyncio.timeout(10):
        await recorder.drain()
    assert kube.written == ["Running"] and not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_befalls_many_shards_of_a_job_is_told_of_some() -> None:
    kube, now = OddKube(), [0.0]
    kube.asked = 1
    recorder = EventRecorder(cast("Kube", kube), "operator-1", lambda: now[0])
    running = asyncio.create_task(recorder.run())
    about = {"kind": "AudioBatchJob", "name": "job", "uid": "u"}
    for second in (0.0, 1.0, REPEAT_SECONDS):
        now[0] = second
        for number in range(2 * BURST):
            recorder.publish(about, Reason.SPLIT, f"{number} at {second}")
    recorder.publish(about, Reason.RUNNING, "goes on")
    async with asyncio.timeout(10):
        await recorder.drain()
    assert kube.written == ["Split"] * 2 * BURST + ["Running"]
    assert (recorder.written_total, recorder.repeated_total, recorder.lost_total) == (2 * BURST + 1, 4 * BURST, 0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
