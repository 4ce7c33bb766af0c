"""Retries calls that fail with a class that the contract lists: at most Transport and Throttled."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_limits import Backoff, Retries
from voxfleet_api.quantities import duration_milliseconds

T = TypeVar("T")

RETRY_AFTER_CAP_SECONDS = 600.0
"""The longest wait that a server can ask for."""


def delay_seconds(backoff: Backoff, retry: int, fraction: float, retry_after_seconds: float | None = None) -> float:
    """How long to wait before retry number `retry`, counted from 0. Pure.

    Full jitter: the wait is `fraction`, in [0, 1), of a delay that grows with each retry up to the cap. A longer wait
    that the server asks for takes precedence, up to RETRY_AFTER_CAP_SECONDS.
    """
    backoff_seconds = _seconds(backoff.initial) * (backoff.factor_percent / 100) ** retry
    jittered_seconds = fraction * min(_seconds(backoff.cap), backoff_seconds)
    return max(jittered_seconds, min(retry_after_seconds or 0.0, RETRY_AFTER_CAP_SECONDS))


class Retrier:
    """Repeats a call that fails with one of the contract's classes, and counts the retries."""

    def __init__(
        self,
        retries: Retries,
        spend: Callable[[FailureClass], None] | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        fraction: Callable[[], float] = random.random,
    ) -> None:
        """`spend`, the failure budget, is called before each retry and may raise to end the retries.

        `sleep` takes seconds; `fraction` returns a number in [0, 1).
        """
        self._retries = retries
        self._classes = frozenset(FailureClass(listed.value) for listed in retries.classes)
        self._spend = spend
        self._sleep = sleep
        self._fraction = fraction
        self.counts: Counter[FailureClass] = Counter()
        """Retries by the class that caused them."""

    async def __call__(self, call: Callable[[], Awaitable[T]]) -> T:
        """Returns the call's result.

        Raises the first VoxFleetError whose class the contract does not list, the last one when the retries are used
        up, and whatever `spend` raises.
        """
        for retry in range(self._retries.max_retries):
            try:
                return await call()
            except VoxFleetError as error:
                if error.failure_class not in self._classes:
                    raise
                if self._spend is not None:
                    self._spend(error.failure_class)
                self.counts[error.failure_class] += 1
                wait_seconds = delay_seconds(self._retries.backoff, retry, self._fraction(), error.retry_after_seconds)
            await self._sleep(wait_seconds)
        return await call()


def _seconds(duration: str) -> float:
    return duration_milliseconds(duration) / 1000
