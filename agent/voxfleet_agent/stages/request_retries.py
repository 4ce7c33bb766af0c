"""Trying again what waiting can mend, as the contract says: Transport and Throttled at most, and nothing else."""

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
"""No server keeps an attempt waiting for longer."""


def delay_seconds(backoff: Backoff, retry: int, fraction: float, retry_after_seconds: float | None = None) -> float:
    """How long to wait before a retry: 0 is the first one. Pure.

    Full jitter: `fraction`, in [0, 1), of a delay that grows with each retry up to the cap. What the other side asked
    for wins when it is longer, up to RETRY_AFTER_CAP_SECONDS.
    """
    grown_seconds = _seconds(backoff.initial) * (backoff.factor_percent / 100) ** retry
    jittered_seconds = fraction * min(_seconds(backoff.cap), grown_seconds)
    return max(jittered_seconds, min(retry_after_seconds or 0.0, RETRY_AFTER_CAP_SECONDS))


class Retrier:
    """Calls again what failed with a class of the contract; counts what it repeated."""

    def __init__(
        self,
        retries: Retries,
        spend: Callable[[FailureClass], None] | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        fraction: Callable[[], float] = random.random,
    ) -> None:
        """`spend` is told of each retry before it happens, and may raise to end them: the failure budget.

        `sleep` takes seconds; `fraction` gives a number in [0, 1).
        """
        self._retries = retries
        self._classes = frozenset(FailureClass(listed.value) for listed in retries.classes)
        self._spend = spend
        self._sleep = sleep
        self._fraction = fraction
        self.counts: Counter[FailureClass] = Counter()
        """Retries by the class that caused them."""

    async def __call__(self, call: Callable[[], Awaitable[T]]) -> T:
        """The call's result.

        Raises the last VoxFleetError when it kept failing, the first one whose class the contract does not list, and
        what `spend` raises.
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
