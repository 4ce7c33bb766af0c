"""Slots over zones, rules of summer time and schedules: the same ones wherever somebody begins to look."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxfleet_operator.reconcile.schedule.slots import NAMES, SlotRule, UnusableSchedule

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",  # until 2019 at midnight
    "Africa/Cairo",  # at midnight
    "Africa/Casablanca",  # summer time all year, but in Ramadan
    "Antarctica/Troll",  # two hours
    "Asia/Kathmandu",
    "Australia/Lord_Howe",  # half an hour
    "Pacific/Apia",  # has skipped a day
    "Pacific/Chatham",
)
WITH_EVERY_DAY = tuple(zone for zone in ZONES if zone != "Pacific/Apia")
"""Where a day is skipped, its run is due where the clock goes on, on the same day as the next one."""
CHANGES = (
    *(datetime(year, month, day, tzinfo=UTC) for year, month, day in ((2026, 3, 29), (2026, 10, 25), (2026, 4, 5))),
    *(datetime(year, month, day, tzinfo=UTC) for year, month, day in ((2018, 11, 4), (2018, 2, 18), (2026, 4, 24))),
    *(datetime(year, month, day, tzinfo=UTC) for year, month, day in ((2026, 10, 4), (2026, 11, 1), (2011, 12, 30))),
    *(datetime(year, month, day, tzinfo=UTC) for year, month, day in ((2026, 2, 15), (2026, 3, 22), (2026, 3, 8))),
)
"""Days on which the clock changes in one of the zones."""
minutes = st.sampled_from(["0", "30", "15,45", "*", "*/20", "59", "10-12"])
hours = st.sampled_from(["*", "0", "1", "2", "2,3", "1-3", "*/2", "23", "0-23/6"])
days = st.sampled_from(["* * *", "* * MON-FRI", "1 * *", "L * *", "* * SUN", "29 2 *", "1,15 * 5"])
schedules = st.one_of(
    st.builds(lambda minute, hour, day: f"{minute} {hour} {day}", minutes, hours, days), st.sampled_from(sorted(NAMES))
)
rules = st.builds(SlotRule, schedules, st.sampled_from(ZONES))
moments = st.builds(
    lambda change, seconds: change + timedelta(seconds=seconds),
    st.sampled_from(CHANGES),
    st.integers(-2 * 86_400, 2 * 86_400),
)


@settings(max_examples=150, deadline=None)
@given(rule=rules, start=moments, later=st.integers(0, 2 * 86_400))
def test_the_slots_do_not_depend_on_where_one_begins_to_look(rule: SlotRule, start: datetime, later: int) -> None:
    middle, end = start + timedelta(seconds=later), start + timedelta(days=4)
    all_of_them = list(takewhile(lambda slot: slot <= end, rule.after(start)))
    from_the_middle = list(takewhile(lambda slot: slot <= end, rule.after(middle)))
    assert from_the_middle == [slot for slot in all_of_them if slot > middle]
    assert all(one < other for one, other in pairwise(all_of_them))
    assert all(slot.tzinfo is UTC and slot.second == 0 for slot in all_of_them)
    assert rule.latest(start, middle) == max((slot for slot in all_of_them if slot <= middle), default=None)
    assert rule.count(start, middle, 10**6) == sum(slot < middle for slot in all_of_them)


def test_what_was_due_in_the_first_of_two_equal_hours_is_not_due_in_the_second() -> None:
    rule, second = SlotRule("30 2 * * *", "Europe/Berlin"), datetime(2026, 10, 25, 1, 15, tzinfo=UTC)
    assert rule.upcoming(second, 1) == (datetime(2026, 10, 26, 1, 30, tzinfo=UTC),)
    assert rule.latest(second, second + timedelta(hours=1)) is None


@settings(max_examples=100, deadline=None)
@given(zone=st.sampled_from(WITH_EVERY_DAY), start=moments, minute=st.integers(0, 59), hour=st.integers(0, 23))
def test_a_time_of_day_is_due_once_on_each_day_that_there_is(
    zone: str, start: datetime, minute: int, hour: int
) -> None:
    rule = SlotRule(f"{minute} {hour} * * *", zone)
    slots = [slot.astimezone(rule.zone) for slot in rule.upcoming(start, 4)]
    dates = [slot.date() for slot in slots]
    assert len(set(dates)) == len(dates)
    for slot in slots:
        shown = slot.replace(tzinfo=None)
        asked = datetime.combine(slot.date(), datetime.min.time()).replace(hour=hour, minute=minute)
        if shown != asked:  # the clock skips it
            assert timedelta(0) < shown - asked <= timedelta(days=1)


@pytest.mark.parametrize(
    ("schedule", "zone", "field"),
    [
        ("0 0 31 2 *", "UTC", "spec.schedule"),
        ("0 0 30 2 *", "Europe/Berlin", "spec.schedule"),
        ("61 0 * * *", "UTC", "spec.schedule"),
        ("0 0 * * * *", "UTC", "spec.schedule"),
        ("0 0 * *", "UTC", "spec.schedule"),
        ("@every 5m", "UTC", "spec.schedule"),
        ("0 0 * * *", "Europe", "spec.timeZone"),
        ("0 0 * * *", "../etc/passwd", "spec.timeZone"),
        ("0 0 * * *", "Europe/Atlantis", "spec.timeZone"),
    ],
)
def test_what_has_no_slots_is_refused_with_the_field_and_what_to_write(schedule: str, zone: str, field: str) -> None:
    with pytest.raises(UnusableSchedule, match=rf"^{field}: .*write ") as caught:
        SlotRule(schedule, zone).check(datetime(2026, 11, 30, tzinfo=UTC))
    assert schedule in str(caught.value) or zone in str(caught.value)


def test_a_long_wait_is_no_long_search() -> None:
    """The number of slots that are read does not grow with the time that has passed."""
    rule = SlotRule("* * * * *", "Europe/Berlin")
    now = datetime(2026, 11, 30, tzinfo=UTC)
    read = 0

    class Counted(SlotRule):
        def after(self, start: datetime) -> Iterator[datetime]:
            nonlocal read
            for slot in super().after(start):
                read += 1
                yield slot

    assert Counted(rule.schedule, rule.time_zone).latest(now - timedelta(days=3650), now) == now
    assert read <= 70
