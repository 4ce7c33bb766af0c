"""Rented time in which no row of a Mac ran. Pure.

A rented Mac is paid while it idles, too. Its rented time is what its rental and its opening hours leave of the time in
which it was registered. Idle time is rented time less the union of the wall intervals of the rows that ran on it, so
that idle time and that union, within rented time, are rented time to the millisecond.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from voxfleet_api.opening_hours import open_between
from voxfleet_billing.archive_format import MacFacts
from voxfleet_billing.instants import DAY_MILLISECONDS, milliseconds_of, moment_milliseconds, moment_of

Interval = tuple[int, int]
"""Milliseconds since 1970; the end is exclusive."""
MANY = 4096


class BusyTime:
    """The union of intervals, in memory that is bounded by how many pieces it has."""

    def __init__(self) -> None:
        self._pieces: list[Interval] = []
        self._merge_at = MANY

    def add(self, start: int, end: int) -> None:
        if start < end:
            self._pieces.append((start, end))
            if len(self._pieces) >= self._merge_at:
                self._pieces = merged(self._pieces)
                self._merge_at = max(MANY, 2 * len(self._pieces))

    def union(self) -> list[Interval]:
        return merged(self._pieces)


@dataclass(frozen=True, slots=True)
class IdleDay:
    """The idle time of one UTC day under the same facts."""

    start: int
    """Of its first idle moment."""
    end: int
    milliseconds: int
    facts: MacFacts


def rented(facts: Sequence[MacFacts], start: int, end: int) -> list[tuple[Interval, MacFacts]]:
    """The rented parts of [start, end), apart from each other and in their order, each with what was true of the Mac.

    Raises UnusableHours.
    """
    ordered = sorted(facts, key=lambda fact: milliseconds_of(fact.since))
    found: list[tuple[Interval, MacFacts]] = []
    for place, fact in enumerate(ordered):
        ends = [end]
        if fact.until is not None:
            ends.append(milliseconds_of(fact.until))
        if place + 1 < len(ordered):
            ends.append(milliseconds_of(ordered[place + 1].since))
        first, last = max(start, milliseconds_of(fact.since)), min(ends)
        if first < last:
            spans = open_between(fact.availability, moment_of(first), moment_of(last))
            found += [((moment_milliseconds(begin), moment_milliseconds(until)), fact) for begin, until in spans]
    return found


def idle_days(rented_parts: Iterable[tuple[Interval, MacFacts]], busy: Sequence[Interval]) -> Iterator[IdleDay]:
    """In their order. `busy`: apart from each other and in their order."""
    day: IdleDay | None = None
    for part, facts in rented_parts:
        for start, end in _by_day(without(part, busy)):
            same = day is not None and day.facts is facts and day.start // DAY_MILLISECONDS == start // DAY_MILLISECONDS
            if day is not None and same:
                day = IdleDay(day.start, end, day.milliseconds + end - start, facts)
                continue
            if day is not None:
                yield day
            day = IdleDay(start, end, end - start, facts)
    if day is not None:
        yield day


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """The union as intervals apart from each other, in their order."""
    found: list[Interval] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            if end > found[-1][1]:
                found[-1] = found[-1][0], end
        else:
            found.append((start, end))
    return found


def without(part: Interval, taken: Sequence[Interval]) -> Iterator[Interval]:
    """What `taken`, apart and in order, leaves of a part."""
    start, end = part
    for first, last in taken:
        if last <= start:
            continue
        if first >= end:
            break
        if start < first:
            yield start, first
        start = max(start, last)
    if start < end:
        yield start, end


def _by_day(intervals: Iterable[Interval]) -> Iterator[Interval]:
    for start, end in intervals:
        while start < end:
            midnight = (start // DAY_MILLISECONDS + 1) * DAY_MILLISECONDS
            yield start, min(end, midnight)
            start = midnight
