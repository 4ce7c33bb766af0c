"""How many calls a minute a key has: token buckets, of which only so many are kept. Pure but for its clock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

MAX_BUCKETS = 10_000


class CallRates:
    """`clock` is monotonic, in seconds. A bucket holds as many calls as a minute allows; a forgotten one is full."""

    def __init__(self, clock: Callable[[], float], max_buckets: int = MAX_BUCKETS) -> None:
        self._clock = clock
        self._max_buckets = max_buckets
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        """Calls left, and when that was."""

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, caller: Hashable, per_minute: int) -> float | None:
        """Takes one call; None: it may go on. Else in how many seconds the next one may."""
        now = self._clock()
        left, at_seconds = self._buckets.pop(caller, (float(per_minute), now))
        left = min(float(per_minute), left + (now - at_seconds) * per_minute / 60.0)
        wait = None if left >= 1.0 else (1.0 - left) * 60.0 / per_minute
        self._buckets[caller] = (left if wait is not None else left - 1.0, now)
        if len(self._buckets) > self._max_buckets:
            self._buckets.popitem(last=False)
        return wait
