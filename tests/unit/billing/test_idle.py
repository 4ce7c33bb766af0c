"""Idle time: rented time less the time in which something ran."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from tests.rig.archived_month import MONTH_END, MONTH_START, facts

from voxfleet_api.kinds.mac_availability import OpeningHours
from voxfleet_billing import idle
from voxfleet_billing.idle import BusyTime, idle_days, merged, rented, without
from voxfleet_billing.instants import DAY_MILLISECONDS, milliseconds_of, text_of

HOUR = 3_600_000
INTERVALS = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)).map(lambda pair: (min(pair), max(pair))))


def hours(**fields: object) -> OpeningHours:
    return OpeningHours.load({"timeZone": "Europe/Berlin", **fields})


def total(**fields: object) -> int:
    return sum(end - start for (start, end), _ in rented((facts(**fields),), MONTH_START, MONTH_END))


def test_a_month_without_limits_is_rented_whole() -> None:
    assert total() == 30 * DAY_MILLISECONDS


def test_registration_and_rental_bound_it() -> None:
    assert total(since="2026-11-29T00:00:00Z") == 2 * DAY_MILLISECONDS
    assert total(until="2026-11-02T00:00:00Z") == DAY_MILLISECONDS
    rental = hours(rentalStart="2026-11-10T00:00:00Z", rentalEnd="2026-11-12T12:00:00Z")
    assert total(availability=rental) == 2 * DAY_MILLISECONDS + 12 * HOUR


def test_windows_are_those_of_their_zone() -> None:
    assert total(availability=hours(windows=[{"start": "20:00", "end": "06:00"}])) == 30 * 10 * HOUR


def test_a_night_has_the_hour_more_or_less_of_its_clock() -> None:
    night = hours(windows=[{"start": "20:00", "end": "06:00"}])
    october = [milliseconds_of(f"2026-{month}-01T12:00:00Z") for month in ("10", "11")]
    spring = [milliseconds_of(f"2026-{month}-01T12:00:00Z") for month in ("03", "04")]
    mac = (facts(since="2026-01-01T00:00:00Z", availability=night),)
    assert sum(end - start for (start, end), _ in rented(mac, *october)) == (31 * 10 + 1) * HOUR
    assert sum(end - start for (start, end), _ in rented(mac, *spring)) == (31 * 10 - 1) * HOUR


def test_later_facts_replace_earlier_ones() -> None:
    changed = (facts(since="2026-11-16T00:00:00Z", sku="other"), facts())
    parts = rented(changed, MONTH_START, MONTH_END)
    assert [(text_of(start)[:10], fact.sku) for (start, _), fact in parts] == [
        ("2026-11-01", "m4pro-48"),
        ("2026-11-16", "other"),
    ]
    assert parts[0][0][1] == parts[1][0][0]


def test_idle_time_is_told_by_day() -> None:
    parts = rented((facts(since="2026-11-28T12:00:00Z"),), MONTH_START, MONTH_END)
    ran = (milliseconds_of("2026-11-29T23:00:00Z"), milliseconds_of("2026-11-30T02:00:00Z"))
    days = list(idle_days(parts, [ran]))
    assert [(text_of(day.start), day.milliseconds // HOUR) for day in days] == [
        ("2026-11-28T12:00:00.000Z", 12),
        ("2026-11-29T00:00:00.000Z", 23),
        ("2026-11-30T02:00:00.000Z", 22),
    ]


@given(INTERVALS, INTERVALS)
def test_idle_and_busy_are_rented_to_the_millisecond(
    rented_parts: list[tuple[int, int]], ran: list[tuple[int, int]]
) -> None:
    parts, busy = merged(rented_parts), merged(ran)
    rented_moments = {moment for start, end in parts for moment in range(start, end)}
    busy_moments = {moment for start, end in busy for moment in range(start, end)}
    left = [piece for part in parts for piece in without(part, busy)]
    assert {moment for start, end in left for moment in range(start, end)} == rented_moments - busy_moments
    assert sum(end - start for start, end in left) == len(rented_moments - busy_moments)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**3)), max_size=60))
def test_busy_time_is_merged_as_it_grows(pieces: list[tuple[int, int]]) -> None:
    before, idle.MANY = idle.MANY, 4
    try:
        busy = BusyTime()
        for start, length in pieces:
            busy.add(start, start + length)
        assert busy.union() == merged((start, start + length) for start, length in pieces if length)
    finally:
        idle.MANY = before


def test_moments_are_texts_and_back() -> None:
    for text in ("2026-11-20T22:00:00.123Z", "1999-12-31T23:59:59.999Z"):
        assert text_of(milliseconds_of(text)) == text
    assert milliseconds_of("2026-11-20T22:00:00Z") == milliseconds_of("2026-11-20T23:00:00+01:00")
    assert milliseconds_of("1970-01-02T00:00:00.000Z") == DAY_MILLISECONDS
    assert datetime.fromtimestamp(MONTH_START // 1000, UTC) == datetime(2026, 11, 1, tzinfo=UTC)
