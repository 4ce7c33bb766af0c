"""The state of one run of a lane's `work`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from voxfleet_agent.lane_protocol.messages import WorkerAnswer
from voxfleet_agent.lanes.child_process import ChildProcess
from voxfleet_agent.lanes.clip_queue import ClipQueue
from voxfleet_agent.lanes.lane_types import ClipTask


class WorkCall:
    def __init__(self, docket: ClipQueue, feed: BatchFeed) -> None:
        self.docket = docket
        self.feed = feed
        self.hearing: asyncio.Task[WorkerAnswer] | None = None
        self.recycling = False
        """The child is to be replaced once it has answered what it has."""
        self._gave_at_seconds = 0.0
        self._first_look = (0.0, 0.0)
        """(begin of the silence, processor time that the child had spent by then)."""

    def gave(self) -> None:
        """The child was given something: its silence counts from now at the earliest."""
        self._gave_at_seconds = asyncio.get_running_loop().time()

    def silent_seconds(self, child: ChildProcess) -> float:
        return asyncio.get_running_loop().time() - self._silent_since(child)

    def spent_seconds(self, child: ChildProcess) -> float:
        """Processor time that the child has spent since the first look at it in this silence."""
        since, cpu_seconds = self._silent_since(child), child.cpu_seconds()
        if self._first_look[0] != since:
            self._first_look = (since, cpu_seconds)
        return cpu_seconds - self._first_look[1]

    def _silent_since(self, child: ChildProcess) -> float:
        return max(self._gave_at_seconds, child.heard_at_seconds)

    async def heard(self) -> WorkerAnswer:
        """What the finished hearing brought. Raises ChildEndedError."""
        hearing, self.hearing = self.hearing, None
        if hearing is None:
            raise RuntimeError("nobody was listening")
        return await hearing

    async def stop_hearing(self) -> None:
        hearing, self.hearing = self.hearing, None
        if hearing is not None:
            hearing.cancel()
            await asyncio.wait({hearing})
            if not hearing.cancelled():
                hearing.exception()  # looked at, so that asyncio does not complain of it


class BatchFeed:
    def __init__(self, batches: AsyncIterator[Sequence[ClipTask]]) -> None:
        self._batches = batches
        self.asked: asyncio.Task[Sequence[ClipTask] | None] | None = None
        """The call for the next batch, until `take`."""
        self.ended = False

    def ask(self) -> None:
        """Does nothing when the next batch is on its way or there is none."""
        if self.asked is None and not self.ended:
            self.asked = asyncio.create_task(self._next())

    async def take(self) -> Sequence[ClipTask]:
        """The batch that was asked for; none at the end. Raises what the iterator raised."""
        asked, self.asked = self.asked, None
        batch = None if asked is None else await asked
        self.ended = batch is None
        return batch or ()

    async def close(self) -> None:
        """Cancels a call that is under way."""
        asked, self.asked = self.asked, None
        if asked is not None:
            asked.cancel()
            await asyncio.wait({asked})
            if not asked.cancelled():
                asked.exception()  # looked at, so that asyncio does not complain of it

    async def _next(self) -> Sequence[ClipTask] | None:
        return await anext(self._batches, None)
