"""The state of one call of a lane's `work`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from voxfleet_agent.lane_protocol.channel import WorkerAnswer
from voxfleet_agent.lanes.child_process import ChildProcess
from voxfleet_agent.lanes.clip_queue import ClipQueue
from voxfleet_agent.lanes.lane_types import ClipTask


class WorkCall:
    def __init__(self, queue: ClipQueue, feed: BatchFeed) -> None:
        self.queue = queue
        self.feed = feed
        self.pending_answer: asyncio.Task[WorkerAnswer] | None = None
        self.recycling = False
        """The child is to be replaced once it has finished the batches that it has."""
        self._last_sent_seconds = 0.0
        self._cpu_baseline = (0.0, 0.0)
        """(time of the last activity, processor time of the child at the first check after it), in seconds."""

    def batch_sent(self) -> None:
        """The child got a batch: its time without activity counts from now."""
        self._last_sent_seconds = asyncio.get_running_loop().time()

    def seconds_since_activity(self, child: ChildProcess) -> float:
        return asyncio.get_running_loop().time() - self._last_activity_seconds(child)

    def cpu_seconds_since_activity(self, child: ChildProcess) -> float:
        """Processor time of the child since the first call of this method after its last activity."""
        since, cpu_seconds = self._last_activity_seconds(child), child.cpu_seconds()
        if self._cpu_baseline[0] != since:
            self._cpu_baseline = (since, cpu_seconds)
        return cpu_seconds - self._cpu_baseline[1]

    def _last_activity_seconds(self, child: ChildProcess) -> float:
        """When a batch was last sent or a message last received, whichever is later."""
        return max(self._last_sent_seconds, child.last_received_seconds)

    async def finished_answer(self) -> WorkerAnswer:
        """The answer that has come. Raises ChildEndedError."""
        task, self.pending_answer = self.pending_answer, None
        if task is None:
            raise RuntimeError("no answer was awaited")
        return await task

    async def cancel_answer(self) -> None:
        """Cancels the wait for an answer, which ends the child."""
        task, self.pending_answer = self.pending_answer, None
        if task is not None:
            await _cancel(task)


class BatchFeed:
    def __init__(self, batches: AsyncIterator[Sequence[ClipTask]]) -> None:
        self._batches = batches
        self.pending: asyncio.Task[Sequence[ClipTask] | None] | None = None
        """The request for the next batch, until `receive`."""
        self.ended = False

    def request(self) -> None:
        """Asks for the next batch; does nothing when it is already on its way or there is none."""
        if self.pending is None and not self.ended:
            self.pending = asyncio.create_task(self._next())

    async def receive(self) -> Sequence[ClipTask]:
        """The requested batch; empty at the end. Raises what the iterator raised."""
        task, self.pending = self.pending, None
        batch = None if task is None else await task
        self.ended = batch is None
        return batch or ()

    async def close(self) -> None:
        """Cancels a request that is under way."""
        task, self.pending = self.pending, None
        if task is not None:
            await _cancel(task)

    async def _next(self) -> Sequence[ClipTask] | None:
        return await anext(self._batches, None)


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # asyncio logs an exception that is never retrieved
