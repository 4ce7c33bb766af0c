"""Splits metered time where ledger rows end: at the ends of months (UTC), and of hours for warm lanes. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True)
class MeteredSpan:
    """Time on the wall, and the milliseconds of it in which the Mac was awake."""

    wall_start: datetime
    """In UTC."""
    wall_end: datetime
    """Exclusive. Never less than the metered milliseconds after the start."""
    milliseconds: int


Border = Callable[[datetime], datetime]
"""The first end of a row after a moment (UTC). No row has more than one month, so the ends of months are among them."""


def split_at_months(span: MeteredSpan) -> list[MeteredSpan]:
    return split_at(span, next_month)


def split_at(span: MeteredSpan, border_after: Border) -> list[MeteredSpan]:
    """The same time, in spans that no border divides. None of it is lost, and none counts twice.

    If the Mac slept meanwhile, nobody knows when: it counts as awake first. The caller's spans are seconds long.
    """
    awake_until = span.wall_start + timedelta(milliseconds=span.milliseconds)
    spans: list[MeteredSpan] = []
    start = span.wall_start
    while (border := border_after(start)) < awake_until:
        spans.append(MeteredSpan(start, border, _milliseconds(border - start)))
        start = border
    left = _milliseconds(awake_until - start)
    if span.wall_end <= border:
        return [*spans, MeteredSpan(start, span.wall_end, left)]
    return [*spans, MeteredSpan(start, awake_until, left), MeteredSpan(span.wall_end, span.wall_end, 0)]


def next_month(moment: datetime) -> datetime:
    """When the month after this moment's begins."""
    year, month = (moment.year + 1, 1) if moment.month == 12 else (moment.year, moment.month + 1)
    return datetime(year, month, 1, tzinfo=UTC)


def next_hour(moment: datetime) -> datetime:
    """When the hour after this moment's begins."""
    return moment.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def _milliseconds(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)
