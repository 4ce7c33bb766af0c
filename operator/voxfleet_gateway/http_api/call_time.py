"""Bounds how long a call may take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from voxfleet_gateway.api_call import ApiCall
from voxfleet_gateway.refusals import CallRefused


@asynccontextmanager
async def session_time(call: ApiCall) -> AsyncIterator[None]:
    """Raises CallRefused(408) once the call's session is `session.maxSeconds` old."""
    try:
        async with asyncio.timeout(max(0.0, call.deadline_seconds - call.now_seconds())):
            yield
    except TimeoutError:
        raise CallRefused(
            408, "session_too_long", "the call took longer than session.maxSeconds of the endpoint allows; send less"
        ) from None
