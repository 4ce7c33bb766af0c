"""The state of one run of a lane's `work`."""

from __future__ import annotations

import asyncio

from voxfleet_agent.pools.docket import Docket
from voxfleet_agent.pools.feed import Feed
from voxfleet_agent.pools.messages import AnyAnswer


class Call:
    def __init__(self, docket: Docket, feed: Feed) -> None:
        self.docket = docket
        self.feed = feed
        self.hearing: asyncio.Task[AnyAnswer] | None = None
        self.recycling = False
        """The child is to be replaced once it has answered what it has."""
        self._deadline = 0.0
        self._quiet_since_cpu_seconds: float | None = None

    def expect_answer(self, patience_seconds: float) -> None:
        self._quiet_since_cpu_seconds = None
        self._deadline = asyncio.get_running_loop().time() + patience_seconds

    def remaining_seconds(self) -> float | None:
        """Until the child's silence is too long; None while it owes nothing."""
        return None if self.docket.idle else max(0.0, self._deadline - asyncio.get_running_loop().time())

    def spent_seconds(self, cpu_seconds: float) -> float:
        """Processor time that the child has spent since the first look at it in this silence."""
        if self._quiet_since_cpu_seconds is None:
            self._quiet_since_cpu_seconds = cpu_seconds
        return cpu_seconds - self._quiet_since_cpu_seconds

    async def heard(self) -> AnyAnswer:
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
