"""When a Mac is open, as spec.availability says. Pure, but for the time zone database, which is read once a zone.

Local times are read as RFC 5545 does: one that the clock shows twice is the first of the two, and one that it skips is
counted with the offset from before the jump, so that 02:30 is an hour after 01:30 on that day, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from voxfleet_api.kinds.mac_availability import OpeningHours, Weekday, Window

DAYS_AROUND = 9
"""How far around today windows are looked at."""
ALWAYS_OPEN = timedelta(days=8)
"""Windows repeat every week: what is open for longer is open always."""


class UnusableHours(ValueError):
    """spec.availability cannot be read; the message names the field and says what to write."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"spec.availability.{field}: {problem}")
        self.field = field
        """The field of OpeningHours, for a kind that has its hours elsewhere."""
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which the Mac is open: from `start` up to but not including `end`. None: without one."""

    start: datetime | None
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a Mac stands at one moment."""

    now: Span | None
    """None: it is closed."""
    last: Span | None
    """Of a closed Mac: when it was open last, as far back as a week."""
    next_start: datetime | None
    """Of a closed Mac: when it opens next; None: never."""
    in_rental: bool
    """Whether the rental has begun and is not over."""


ALWAYS = Standing(Span(None, None), None, None, in_rental=True)


@lru_cache(maxsize=1024)
def standing(hours: OpeningHours | None, now: datetime) -> Standing:
    """Raises UnusableHours."""
    if hours is None:
        return ALWAYS
    spans = _spans(hours, now.astimezone(UTC).date())
    rental = Span(*_rental(hours))
    in_rental = _begun(rental, now) and not _over(rental, now)
    current = next((span for span in spans if _begun(span, now) and not _over(span, now)), None)
    if current is not None:
        return Standing(current, None, None, in_rental)
    last = next((span for span in reversed(spans) if _over(span, now)), None)
    following = next((span.start for span in spans if not _begun(span, now)), None)
    if following is None and rental.start is not None and now < rental.start:
        then = _spans(hours, rental.start.astimezone(UTC).date())
        following = next((span.start for span in then if span.start is not None), None)
    return Standing(None, last, following, in_rental)


def time_left(hours: OpeningHours | None, now: datetime) -> float | None:
    """Seconds until the Mac closes, 0 if it is closed, None if it never closes. Raises UnusableHours."""
    found = standing(hours, now).now
    if found is None:
        return 0.0
    return None if found.end is None else (found.end - now).total_seconds()


def next_opening(hours: OpeningHours | None, now: datetime) -> datetime | None:
    """When a closed Mac opens; None if it is open, or never opens again. Raises UnusableHours."""
    return standing(hours, now).next_start


def same_until(hours: OpeningHours, now: datetime) -> datetime:
    """A moment until which `standing` stays as it is now, if nobody writes other hours. Raises UnusableHours."""
    found, today = standing(hours, now), now.astimezone(UTC).date()
    midnight = datetime.combine(today + timedelta(days=1), time(), UTC)
    moments = (None if found.now is None else found.now.end, found.next_start, *_rental(hours))
    return min([midnight, *(moment for moment in moments if moment is not None and moment > now)])


def rental_ends(hours: OpeningHours | None) -> datetime | None:
    """Raises UnusableHours."""
    return None if hours is None else _rental(hours)[1]


def open_between(hours: OpeningHours | None, start: datetime, end: datetime) -> tuple[tuple[datetime, datetime], ...]:
    """The parts of [start, end) in which the Mac is open, apart from each other and in their order.

    Raises UnusableHours.
    """
    if hours is None:
        return ((start, end),) if start < end else ()
    spans = [(start, end)]
    if hours.windows:
        day = timedelta(days=1)
        spans = _joined(hours, start.astimezone(UTC).date() - 2 * day, end.astimezone(UTC).date() + 2 * day)
    opens, closes = _rental(hours)
    first, last = max(start, opens or start), min(end, closes or end)
    cut = ((max(first, begin), min(last, until)) for begin, until in spans)
    return tuple((begin, until) for begin, until in cut if begin < until)


def local_text(hours: OpeningHours | None, moment: datetime) -> str:
    """`2026-11-20 20:00 Europe/Berlin`."""
    zone = "UTC" if hours is None or hours.time_zone is None else hours.time_zone
    return f"{moment.astimezone(_zone(zone)):%Y-%m-%d %H:%M} {zone}"


@lru_cache(maxsize=2048)
def _spans(hours: OpeningHours, today: date) -> tuple[Span, ...]:
    """The times in which the Mac is open in the weeks around a day, apart from each other and in their order."""
    rental = Span(*_rental(hours))
    if not hours.windows:
        return (rental,)
    joined = _joined(hours, today - timedelta(days=DAYS_AROUND), today + timedelta(days=DAYS_AROUND))
    found = (Span(None, None) if last - first > ALWAYS_OPEN else Span(first, last) for first, last in joined)
    return tuple(cut for span in found if (cut := _within(span, rental)) is not None)


def _joined(hours: OpeningHours, first_day: date, last_day: date) -> list[tuple[datetime, datetime]]:
    """The windows that open on these days, those that touch as one, in their order."""
    zone = _zone(hours.time_zone or "UTC")
    days = [first_day + timedelta(days=offset) for offset in range((last_day - first_day).days + 1)]
    opened = sorted(
        (_instant(day, window.start, zone), _instant(day + _days_later(window), window.end, zone))
        for window in hours.windows
        for day in days
        if not window.days or _WEEKDAYS[day.weekday()] in window.days
    )
    joined: list[tuple[datetime, datetime]] = []
    for first, last in opened:
        if last <= first:
            continue  # the clock skips it on this day
        if joined and first <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], last)
        else:
            joined.append((first, last))
    return joined


def _within(span: Span, rental: Span) -> Span | None:
    starts = [moment for moment in (span.start, rental.start) if moment is not None]
    ends = [moment for moment in (span.end, rental.end) if moment is not None]
    start, end = max(starts, default=None), min(ends, default=None)
    if start is not None and end is not None and start >= end:
        return None
    return Span(start, end)


def _begun(span: Span, now: datetime) -> bool:
    return span.start is None or span.start <= now


def _over(span: Span, now: datetime) -> bool:
    return span.end is not None and span.end <= now


def _rental(hours: OpeningHours) -> tuple[datetime | None, datetime | None]:
    return _moment(hours.rental_start, "rentalStart"), _moment(hours.rental_end, "rentalEnd")


def _moment(text: str | None, field: str) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError as error:
        raise UnusableHours(field, f"there is no time {text}; write for example 2026-11-20T22:00:00Z") from error


def _instant(day: date, text: str, zone: ZoneInfo) -> datetime:
    hour, minute = (int(part) for part in text.split(":"))
    if hour == 24:
        day, hour = day + timedelta(days=1), 0
    return datetime.combine(day, time(hour, minute), zone).astimezone(UTC)


def _days_later(window: Window) -> timedelta:
    """A window that ends before it starts ends on the next day."""
    return timedelta(days=1 if window.end < window.start else 0)


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # OSError: the name of a folder of zones, such as Europe
        raise UnusableHours(
            "timeZone", f"the time zone database has no {name}; write a name such as Europe/Berlin"
        ) from error


_WEEKDAYS = tuple(Weekday)
