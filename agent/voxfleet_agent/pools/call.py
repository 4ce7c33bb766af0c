"""The state of one run of a lane's `work`."""

from __future__ import annotations

import asyncio

from voxfleet_agent.pools.child import Child
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
        self._gave_at_seconds = 0.0
        self._first_look = (0.0, 0.0)
        """(begin of the silence, processor time that the child had spent by then)."""

    def gave(self) -> None:
        """The child was given something: its silence counts from now at the earliest."""
        self._gave_at_seconds = asyncio.get_running_loop().time()

    def silent_seconds(self, child: Child) -> float:
        return asyncio.get_running_loop().time() - self._silent_since(child)

    def spent_seconds(self, child: Child) -> float:
        """Processor time that the child has spent since the first look at it in this silence."""
        since, cpu_seconds = self._silent_since(child), child.cpu_seconds()
        if self._first_look[0] != since:
            self._first_look = (since, cpu_seconds)
        return cpu_seconds - self._first_look[1]

    def _silent_since(self, child: Child) -> float:
        return max(self._gave_at_seconds, child.heard_at_seconds)

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
