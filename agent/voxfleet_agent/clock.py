"""The agent's three clocks. Billed time must exclude sleep; a lease must include it."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import Protocol

if sys.platform == "darwin":
    _METERED = time.CLOCK_UPTIME_RAW
    _LEASE = time.CLOCK_MONOTONIC_RAW
else:
    _METERED = time.CLOCK_MONOTONIC
    _LEASE = time.CLOCK_BOOTTIME


class Clock(Protocol):
    def metered_milliseconds(self) -> int:
        """A monotonic clock that stops while the machine sleeps."""
        ...

    def lease_seconds(self) -> float:
        """A monotonic clock that keeps running while the machine sleeps."""
        ...

    def wall(self) -> datetime:
        """The time in UTC, for people only: no decision about leases or money depends on it."""
        ...


class SystemClock:
    def metered_milliseconds(self) -> int:
        return time.clock_gettime_ns(_METERED) // 1_000_000

    def lease_seconds(self) -> float:
        return time.clock_gettime(_LEASE)

    def wall(self) -> datetime:
        return datetime.now(UTC)


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, such as `2026-11-20T22:00:00.123Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
