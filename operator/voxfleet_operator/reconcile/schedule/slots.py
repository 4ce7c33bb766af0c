"""The slots of a schedule: the times at which its jobs are due. Pure, but for the time zone database.

cronsim knows when they are, as Debian's cron does: a time of day that the clock skips is due where it goes on, and one
that the clock shows twice is due the first time; where minute or hour begins with a star, the schedule follows the
clock's hours instead, of which such a night has one less or one more. All slots are in UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

NAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_WINDOWS = (timedelta(hours=1), timedelta(days=1), timedelta(days=32), timedelta(days=400))
"""How far back the latest slot is looked for first: a schedule with many slots is not read from its beginning."""


class UnusableSchedule(ValueError):
    """The schedule has no slots; the message names the field and says what to write."""


@dataclass(frozen=True, slots=True)
class SlotRule:
    schedule: str
    time_zone: str

    def check(self, now: datetime) -> None:
        """Raises UnusableSchedule."""
        if next(self.after(now), None) is None:
            raise UnusableSchedule(f"spec.schedule: {self.schedule} is never due; write for example 30 2 * * MON-FRI")

    def after(self, start: datetime) -> Iterator[datetime]:
        """The slots after `start`, in their order and each once; whatever `start` is, they are the same ones.

        Raises UnusableSchedule.
        """
        fields = NAMES.get(self.schedule, self.schedule)
        if len(fields.split()) != 5:
            raise UnusableSchedule(f"spec.schedule: {self.schedule} has not five fields; write 30 2 * * MON-FRI")
        try:
            simulated = CronSim(fields, start.astimezone(self.zone))
        except CronSimError as error:
            raise UnusableSchedule(
                f"spec.schedule: {self.schedule} cannot be read ({error}); write five fields such as 30 2 * * MON-FRI"
            ) from error
        last = start
        for local in simulated:
            slot = local.astimezone(UTC)
            if slot > last:  # within an hour that the clock shows twice, it begins with slots of the first time
                yield slot
                last = slot

    @property
    def zone(self) -> ZoneInfo:
        """Raises UnusableSchedule."""
        try:
            return ZoneInfo(self.time_zone)
        except (KeyError, ValueError, OSError) as error:  # OSError: the name of a folder of zones, such as Europe
            raise UnusableSchedule(
                f"spec.timeZone: the time zone database has no {self.time_zone}; write a name such as Europe/Berlin"
            ) from error

    def latest(self, after: datetime, until: datetime) -> datetime | None:
        """The last slot after `after`, up to and including `until`. Raises UnusableSchedule."""
        starts = [until - window for window in _WINDOWS if until - window > after]
        for start in (*starts, after):
            found = max(self._between(start, until), default=None)
            if found is not None:
                return found
        return None

    def count(self, after: datetime, before: datetime, limit: int) -> int:
        """How many slots lie between two moments; `limit` stands for as many or more. Raises UnusableSchedule."""
        return sum(1 for slot in islice(self._between(after, before), limit) if slot < before)

    def upcoming(self, now: datetime, number: int) -> tuple[datetime, ...]:
        """Raises UnusableSchedule."""
        return tuple(islice(self.after(now), number))

    def _between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        return takewhile(lambda slot: slot <= until, self.after(after))
