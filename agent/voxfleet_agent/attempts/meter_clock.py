"""The metered clock together with the wall clock, for the rows of one agent process."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from voxfleet_agent.clock import Clock

LONGEST_CORRECTION = timedelta(minutes=1)
"""A wall clock that is set back by more was set by somebody; less is its usual correction, and is passed over."""


@dataclass(frozen=True, slots=True)
class MeterReading:
    milliseconds: int
    """On the metered clock, which stops while the Mac sleeps."""
    wall: datetime
    """In UTC, whole milliseconds."""


class MeterClock:
    """All lanes read the same one, so that rows of a lane overlap on the wall only if its clock was set back.

    The wall time advances at least as fast as the metered time, unless it was set back.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = self._look()  # a correction before the first lane is held is one, too

    def read(self) -> MeterReading:
        now = self._look()
        least = self._last.wall + timedelta(milliseconds=now.milliseconds - self._last.milliseconds)
        if now.wall < least <= now.wall + LONGEST_CORRECTION:
            now = MeterReading(now.milliseconds, least)
        self._last = now
        return now

    def _look(self) -> MeterReading:
        shown = self._clock.wall().astimezone(UTC)
        wall = shown.replace(microsecond=shown.microsecond // 1000 * 1000)
        return MeterReading(self._clock.metered_milliseconds(), wall)
