"""Which night is next, when it is closed, and which months of the archive its rows may lie in. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from voxfleet_billing.instants import milliseconds_of, moment_milliseconds, moment_of, month_bounds
from voxfleet_billing.nightly.night_csv import NightFrame
from voxfleet_billing.nightly.nightly_format import Closed, NightManifest, NightSource
from voxfleet_billing.nights import NightClock
from voxfleet_operator.fleet.verified_row import NO_MONTH

GRACE = timedelta(hours=12)
"""From the end of a night. Rows that are missing by then are in the CSV of a later night."""
EARLIER_MONTHS = 2
_DAY = timedelta(days=1)


def next_night(previous: NightManifest | None, clock: NightClock, now: datetime) -> NightFrame | None:
    """The first night that is over and has no manifest; None while the next one is still to end.

    Nights follow each other without a gap, also where the price book has moved their border meanwhile. The first one of
    an archive is the last that is over.
    """
    if previous is None:
        night = clock.night_of(now) - _DAY
        start = clock.end_of(night - _DAY)
    else:
        start = moment_of(milliseconds_of(previous.until))
        night = max(datetime.fromisoformat(previous.night).date() + _DAY, clock.night_of(start))
    end = clock.end_of(night)
    if end > now:
        return None
    return NightFrame(night.isoformat(), moment_milliseconds(start), moment_milliseconds(end), clock)


def closing_reason(frame: NightFrame, awaited: Iterable[str], now: datetime) -> Closed | None:
    """None: rows of it are expected. `awaited`: the Macs that may have some."""
    if not any(True for _ in awaited):
        return Closed.ALL_ROWS_ARCHIVED
    return Closed.DEADLINE if now >= moment_of(frame.end) + GRACE else None


def overdue_seconds(frame: NightFrame | None, now: datetime) -> float:
    """For how long the night is over."""
    return 0.0 if frame is None else max(0.0, (now - moment_of(frame.end)).total_seconds())


def months_of(frame: NightFrame) -> tuple[str, ...]:
    """The months of which all Macs are looked at: those of the night and the two before it, in which a Mac that was
    away may have rows for the first time. Rows of broken clocks belong to no month.
    """
    months = {f"{moment_of(frame.end):%Y-%m}"}
    first = moment_of(frame.start)
    for _ in range(1 + EARLIER_MONTHS):
        months.add(f"{first:%Y-%m}")
        first = first.replace(day=1) - _DAY
    return (NO_MONTH, *sorted(months))


def open_sources(previous: NightManifest | None) -> frozenset[tuple[str, str]]:
    """The Macs' months of whatever age to which rows may have been added since the night before."""
    return frozenset(source.key for source in (() if previous is None else previous.sources) if not source.final)


def is_told(source: NightSource, frame: NightFrame) -> bool:
    """Whether all rows of the month are in CSVs already: nothing was added, and no row of it begins in this night."""
    return source.final and month_bounds(source.month)[1] <= frame.start
