"""A child that has loaded its model and serves sessions, until it ends: one task reads it, one feeds it, one looks for
hangs."""

from __future__ import annotations

import asyncio

from voxfleet_agent.lane_protocol.session_messages import SessionAnswer
from voxfleet_agent.lanes.child_exits import ChildEnd
from voxfleet_agent.lanes.child_process import ChildEndedError, ChildProcess
from voxfleet_agent.lanes.session_hangs import CHECK_SECONDS, SessionTimeouts, misbehaviour
from voxfleet_agent.lanes.session_table import SessionTable
from voxfleet_api.failures import FailureClass


class ServingChild:
    """Nobody else receives from `child`."""

    def __init__(self, child: ChildProcess, sessions: SessionTable, timeouts: SessionTimeouts) -> None:
        self.child = child
        self.sessions = sessions
        self._timeouts = timeouts
        self.lost_sessions = 0
        """How many sessions ended with the child."""
        self._ended = asyncio.create_task(self._serve())

    async def ended(self) -> ChildEnd:
        """Waits for the end of the child, which has ended its sessions by then. May be cancelled and called again."""
        return await asyncio.shield(self._ended)

    async def close(self, failure_class: FailureClass, reason: str, *, in_order: bool = False) -> None:
        """Ends the sessions for this reason, then the child. `in_order`: gives the child a moment to end by itself."""
        self.lost_sessions += self.sessions.end_all(failure_class, reason)
        await (self.child.stop() if in_order else self.child.end())
        await asyncio.wait({self._ended})

    async def _serve(self) -> ChildEnd:
        beside = [asyncio.create_task(self._watch()), asyncio.create_task(self.sessions.feed.run())]
        try:
            return await self._read()
        finally:
            for task in beside:
                task.cancel()

    async def _read(self) -> ChildEnd:
        try:
            while True:
                answer = await self.child.receive()
                if not isinstance(answer, SessionAnswer):
                    raise await self.child.protocol_error(f"sent a {answer.kind} that nobody asked for")
                self.sessions.told(answer)
                await asyncio.sleep(0)  # reading what is buffered never yields, and other lanes must get their turn
        except ChildEndedError as error:
            end = error.end
        await self.child.end()
        self.lost_sessions += self.sessions.end_all(end.failure_class, end.reason)
        return end

    async def _watch(self) -> None:
        """Kills a child that hangs. `_read` then hears of its end."""
        now_seconds = asyncio.get_running_loop().time
        while self.child.alive:
            reason = misbehaviour(self._timeouts, self.sessions.silence(), now_seconds())
            if reason is not None:
                self.child.kill_for(reason)
            await asyncio.sleep(CHECK_SECONDS)
