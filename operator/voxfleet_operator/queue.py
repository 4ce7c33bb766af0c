"""The work queue: keys to reconcile, with the semantics of client-go's queue.

No key is processed twice at the same time. A key that is added meanwhile runs again afterwards, and a key's failures
delay only that key.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

INITIAL_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 60.0
SPARE_TIMERS = 64


class Key(NamedTuple):
    """The object to reconcile. Parts that do not apply are empty strings."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return "/".join(part for part in self if part)


PLACEMENT = Key("Placement", "", "")
"""The one placement pass over all shards and Macs."""
RESTORE = Key("MachineHourStatement", "", "")
"""Stands for the statements that only the archive knows."""


class QueueObserver(Protocol):
    """Hears how long keys wait and are worked on, in seconds."""

    def key_taken(self, kind: str, waited_seconds: float) -> None: ...

    def key_done(self, kind: str, worked_seconds: float) -> None: ...


class QueueClosed(Exception):
    """The queue accepts and returns no more keys."""


class WorkQueue:
    """To be used in one event loop. `clock` is monotonic, in seconds.

    A process begins as a standby, on which nobody takes keys: the queue drops them until `start`, which gets every key
    there is.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        initial_backoff_seconds: float = INITIAL_BACKOFF_SECONDS,
        max_backoff_seconds: float = MAX_BACKOFF_SECONDS,
        observer: QueueObserver | None = None,
    ) -> None:
        self._clock = clock
        self._observer = observer
        self._initial_backoff_seconds = initial_backoff_seconds
        self._max_backoff_seconds = max_backoff_seconds
        self._ready: deque[Key] = deque()
        self._dirty: set[Key] = set()
        self._processing: dict[Key, float] = {}
        """Since when."""
        self._added_seconds: dict[Key, float] = {}
        self._due: dict[Key, float] = {}
        self._timers: list[tuple[float, Key]] = []
        self._failures: dict[Key, int] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        """Workers without a key. A key wakes one of them."""
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_due_seconds = float("inf")
        self._standby = True
        self._closed = False
        self.adds: Counter[str] = Counter()
        """By kind, as are `retries`."""
        self.retries: Counter[str] = Counter()

    @property
    def depth(self) -> int:
        """How many keys wait for a worker."""
        return len(self._ready)

    @property
    def depths(self) -> Counter[str]:
        """How many keys wait for a worker, by kind."""
        return Counter(key.kind for key in self._ready)

    @property
    def held_seconds(self) -> tuple[float, ...]:
        """For how long each key in work is held by now."""
        now = self._clock()
        return tuple(now - since for since in self._processing.values())

    def start(self, keys: Iterable[Key] = ()) -> None:
        """Ends the standby: from now on keys are kept, these first."""
        self._standby = False
        for key in keys:
            self.add(key)

    @property
    def delayed(self) -> int:
        """How many requests for later are held."""
        return len(self._timers)

    def add(self, key: Key) -> None:
        """Requests a reconcile now. Requests made before it starts count as one."""
        if self._closed or self._standby or key in self._dirty:
            return
        self.adds[key.kind] += 1
        self._dirty.add(key)
        self._added_seconds[key] = self._clock()
        if key not in self._processing:
            self._make_ready(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Requests a reconcile in `seconds`. Of several such requests, the earliest counts."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock() + seconds
        if self._closed or self._standby or due >= self._due.get(key, float("inf")):
            return
        self._due[key] = due
        heapq.heappush(self._timers, (due, key))
        if len(self._timers) > 2 * len(self._due) + SPARE_TIMERS:
            # Requests that an earlier one made needless, each of which would stay until its own time.
            self._timers = [(due, key) for key, due in self._due.items()]
            heapq.heapify(self._timers)
        self._set_alarm()

    def add_rate_limited(self, key: Key) -> float:
        """Requests a reconcile after the key's backoff, which doubles with each call. Returns it in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.retries[key.kind] += 1
        # Beyond 2^32 the cap applies anyway, and a float would overflow.
        seconds = min(self._initial_backoff_seconds * 2.0 ** min(failures, 32), self._max_backoff_seconds)
        self.add_after(key, seconds)
        return seconds

    def forget(self, key: Key) -> None:
        """Resets the key's backoff."""
        self._failures.pop(key, None)

    async def get(self) -> Key:
        """Waits for the next key, which the caller holds until `done`. Raises QueueClosed."""
        while True:
            if self._closed:
                raise QueueClosed
            self.tick()
            if self._ready:
                key = self._ready.popleft()
                self._dirty.discard(key)
                now = self._clock()
                self._processing[key] = now
                waited_seconds = now - self._added_seconds.pop(key, now)
                if self._observer is not None:
                    self._observer.key_taken(key.kind, waited_seconds)
                return key
            await self._wait()

    def done(self, key: Key) -> None:
        """Ends the work on a key, which is ready again if it was added meanwhile."""
        since = self._processing.pop(key, None)
        if self._observer is not None and since is not None:
            self._observer.key_done(key.kind, self._clock() - since)
        if key in self._dirty and not self._closed:
            self._make_ready(key)

    def tick(self) -> None:
        """Makes due keys ready. `get` calls it; more calls are needed only with a clock that is moved by hand."""
        now = self._clock()
        while self._timers and self._timers[0][0] <= now:
            due, key = heapq.heappop(self._timers)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)

    def close(self) -> None:
        self._closed = True
        while self._waiting:
            self._wake_one()

    def _make_ready(self, key: Key) -> None:
        self._ready.append(key)
        self._wake_one()

    def _wake_one(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._set_alarm()
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self._wake_one()  # for the key that this worker was woken for
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            raise

    def _set_alarm(self) -> None:
        """While workers wait, somebody must look when the next delay is over."""
        if not self._timers or not self._waiting:
            return
        due_seconds = self._timers[0][0]
        if self._alarm is not None:
            if self._alarm_due_seconds <= due_seconds:
                return
            self._alarm.cancel()
        self._alarm_due_seconds = due_seconds
        wait_seconds = max(0.0, due_seconds - self._clock())
        self._alarm = asyncio.get_running_loop().call_later(wait_seconds, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self.tick()
        self._set_alarm()
