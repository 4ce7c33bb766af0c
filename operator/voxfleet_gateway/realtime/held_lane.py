"""The lane's session of one socket: held before the upgrade, so that a full lane refuses it, and opened as the client
wants it afterwards."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from http import HTTPStatus

from voxfleet_api.session_protocol import OpenHearing
from voxfleet_gateway.lane_session import LaneSession, OpensSessions
from voxfleet_gateway.refusals import CallRefused

GIVE_BACK_SECONDS = 5.0
"""For the end of a session that heard nothing, which waits for a step of the lane's model."""


class HeldLane:
    """Its methods belong to one task: a session is left in the task that entered it."""

    def __init__(self, open_session: OpensSessions) -> None:
        self._open_session = open_session
        self._stack = AsyncExitStack()
        self._held: tuple[OpenHearing, LaneSession] | None = None

    async def reserve(self, request: OpenHearing) -> None:
        """Raises CallRefused where no lane has room.

        What the lane refuses about the request itself is left to `open`: the client may yet ask for something else.
        """
        try:
            self._held = (request, await self._stack.enter_async_context(self._open_session(request)))
        except CallRefused as call:
            if call.status != HTTPStatus.UNPROCESSABLE_ENTITY:
                raise

    async def open(self, request: OpenHearing) -> LaneSession:
        """Another request than the reserved one takes the place of the session that was held. Raises CallRefused."""
        if self._held is not None:
            held_request, held = self._held
            if held_request == request:
                return held
            await _given_back(held)
            await self.release()
        session = await self._stack.enter_async_context(self._open_session(request))
        self._held = (request, session)
        return session

    async def release(self) -> None:
        """Cancels the session, if it has not ended."""
        self._held = None
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()


async def _given_back(session: LaneSession) -> None:
    """Waits for the session's end in order: its place is free then. One that is cancelled keeps it for a while."""
    with suppress(TimeoutError):
        async with asyncio.timeout(GIVE_BACK_SECONDS):
            await session.end_audio()
            async for _ in session.events():
                pass
