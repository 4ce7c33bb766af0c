"""How the operator waits for an API server that is starting too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import structlog

from voxfleet_operator.kube_errors import ApiUnavailable, Forbidden

START_SECONDS, START_FORBIDDEN_SECONDS, START_PAUSE_SECONDS = 60.0, 15.0, 1.0

log = structlog.get_logger(__name__)

T = TypeVar("T")


async def patiently(call: Callable[[], Awaitable[T]], stop: asyncio.Event) -> T:
    """Makes a call of the start again while there is no answer: the API server may be starting too.

    One that has just started forbids everything until it has read the roles. Raises ApiUnavailable after
    START_SECONDS, Forbidden after START_FORBIDDEN_SECONDS, and either once `stop` is set.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        try:
            return await call()
        except (ApiUnavailable, Forbidden) as error:
            seconds = START_FORBIDDEN_SECONDS if isinstance(error, Forbidden) else START_SECONDS
            if stop.is_set() or loop.time() > began + seconds:
                raise
            log.warning("the API server does not answer yet, asked again soon", error=str(error))
        with suppress(TimeoutError):
            async with asyncio.timeout(START_PAUSE_SECONDS):
                await stop.wait()
