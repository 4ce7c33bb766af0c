"""Trying again what waiting can mend: Transport and Throttled, and nothing else."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from voxfleet_api.failures import RULES, Remedy, VoxFleetError

T = TypeVar("T")

MAX_RETRIES = 3
FIRST_DELAY_SECONDS = 1.0
DELAY_CAP_SECONDS = 60.0


def delay_seconds(retry: int, fraction: float) -> float:
    """Full jitter: a random part of a delay that doubles with each retry, from 0, up to the cap."""
    return fraction * min(DELAY_CAP_SECONDS, FIRST_DELAY_SECONDS * 2.0**retry)


async def with_retries(call: Callable[[], Awaitable[T]]) -> T:
    """The call's result; the last error when it kept failing, or the first that waiting cannot mend."""
    for retry in range(MAX_RETRIES):
        try:
            return await call()
        except VoxFleetError as error:
            if RULES[error.failure_class].remedy is not Remedy.RETRY:
                raise
        await asyncio.sleep(delay_seconds(retry, random.random()))  # noqa: S311 -- spreads load, keeps no secret
    return await call()
