"""Bounds how long a call may take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from voxfleet_gateway.api_call import ApiCall
from voxfleet_gateway.refusals import CallRefused


@asynccontextmanager
async def session_time(call: ApiCall) -> AsyncIterator[None]:
    """Raises CallRefused: 408 once the call's session is `session.maxSeconds` old, 503 once the gateway closes."""
    try:
        async with asyncio.timeout(max(0.0, call.deadline_seconds - call.now_seconds())) as limit:
            closing = asyncio.create_task(_end_with_the_gateway(call.closing, limit))
            try:
                yield
            finally:
                closing.cancel()
    except TimeoutError:
        if call.closing.is_set():
            raise CallRefused(
                503, "draining", "this gateway is being stopped; call again", retry_after_seconds=1.0
            ) from None
        raise CallRefused(
            408, "session_too_long", "the call took longer than session.maxSeconds of the endpoint allows; send less"
        ) from None


async def _end_with_the_gateway(closing: asyncio.Event, limit: asyncio.Timeout) -> None:
    await closing.wait()
    limit.reschedule(asyncio.get_running_loop().time())
