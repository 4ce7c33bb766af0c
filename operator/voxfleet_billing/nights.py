"""Which night a moment belongs to, as the price book says. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from voxfleet_billing.price_book import PriceBook

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class NightClock:
    """To which night a moment belongs. A night has the date of its evening, and ends when it closes."""

    zone: ZoneInfo
    closes_at: time

    def night_of(self, moment: datetime) -> date:
        local = moment.astimezone(self.zone)
        return local.date() - timedelta(days=local.time() < self.closes_at)

    def end_of(self, night: date) -> datetime:
        """In UTC. The next night begins then."""
        return datetime.combine(night + _DAY, self.closes_at, self.zone).astimezone(UTC)


UTC_DAYS = NightClock(ZoneInfo("UTC"), time(0))
"""Where the price book says nothing of nights."""


def night_clock(book: PriceBook | None) -> NightClock:
    if book is None or book.night is None:
        return UTC_DAYS
    return NightClock(ZoneInfo(book.night.time_zone), time.fromisoformat(book.night.closes_at))


def nights_of(month: str) -> list[date]:
    """The nights of a month such as 2026-11."""
    first = date.fromisoformat(f"{month}-01")
    count = ((first + timedelta(days=32)).replace(day=1) - first).days
    return [first + timedelta(days=day) for day in range(count)]


def night_in(month: Sequence[date], clock: NightClock, start: str) -> date:
    """The night of a row by its start, in RFC 3339. Hours of the month before its first night belong to that one."""
    return min(max(clock.night_of(datetime.fromisoformat(start)), month[0]), month[-1])
