"""When a Mac is open: windows over midnight, both changes of the clock, and the rental around them."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_api.kinds.mac_availability import OpeningHours
from voxfleet_api.opening_hours import UnusableHours, local_text, next_opening, standing, time_left

BERLIN = "Europe/Berlin"
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def at(text: str, zone: str = BERLIN) -> datetime:
    """A local time as people write it; with `fold` behind it, the second of two."""
    moment = datetime.fromisoformat(text.removesuffix(" fold"))
    return moment.replace(tzinfo=ZoneInfo(zone), fold=int(text.endswith(" fold"))).astimezone(UTC)


def hours(*windows: str, zone: str = BERLIN, **fields: str) -> OpeningHours:
    """A window is `20:00-06:00`, or `Mon,Tue 20:00-06:00`."""
    parsed = []
    for window in windows:
        days, _, times = window.rpartition(" ")
        start, end = times.split("-")
        parsed.append({"start": start, "end": end, **({"days": days.split(",")} if days else {})})
    return OpeningHours.load({"windows": parsed, "timeZone": zone, **fields})


NIGHT = hours("20:00-06:00")
WEEK = hours("Mon,Tue,Wed,Thu 20:00-06:00")

# 2026-11-20 is a Friday. What ends or begins next: None for never.
TABLE: dict[str, tuple[OpeningHours | None, str, bool, str | None]] = {
    "no hours": (None, "2026-11-20 12:00", True, None),
    "before the night": (NIGHT, "2026-11-20 19:59", False, "2026-11-20 20:00"),
    "it opens at the minute": (NIGHT, "2026-11-20 20:00", True, "2026-11-21 06:00"),
    "before midnight": (NIGHT, "2026-11-20 23:59", True, "2026-11-21 06:00"),
    "after midnight": (NIGHT, "2026-11-21 00:00", True, "2026-11-21 06:00"),
    "it closes at the minute": (NIGHT, "2026-11-21 06:00", False, "2026-11-21 20:00"),
    "the days are those on which it opens": (WEEK, "2026-11-20 05:00", True, "2026-11-20 06:00"),
    "not on Friday": (WEEK, "2026-11-20 21:00", False, "2026-11-23 20:00"),
    "a day off, and the night before it": (hours("Sun 00:00-24:00"), "2026-11-22 23:59", True, "2026-11-23 00:00"),
    "once a week": (hours("Sat 10:00-11:00"), "2026-11-21 11:00", False, "2026-11-28 10:00"),
    "days that touch are one": (
        hours("Sat 00:00-24:00", "Sun 00:00-24:00"),
        "2026-11-21 01:00",
        True,
        "2026-11-23 00:00",
    ),
    "windows that overlap are one": (hours("08:00-12:00", "11:00-13:00"), "2026-11-20 09:00", True, "2026-11-20 13:00"),
    "every day the whole day": (hours("00:00-24:00"), "2026-11-20 09:00", True, None),
    "a zone with half an hour": (
        hours("20:00-06:00", zone="Asia/Kolkata"),
        "2026-11-20 15:29",
        False,
        "2026-11-20 15:30",
    ),
    # The clock jumps from 02:00 to 03:00.
    "the short night": (NIGHT, "2026-03-28 20:00", True, "2026-03-29 06:00"),
    "its end is skipped": (hours("20:00-02:30"), "2026-03-28 20:00", True, "2026-03-29 03:30"),
    "its start is skipped": (hours("02:30-06:00"), "2026-03-29 01:59", False, "2026-03-29 03:30"),
    "all of it is skipped": (hours("02:15-02:45"), "2026-03-29 01:59", False, "2026-03-29 03:15"),
    "it would end before it starts": (hours("02:30-03:15"), "2026-03-29 01:59", False, "2026-03-30 02:30"),
    # The clock shows 02:00 to 03:00 twice.
    "the long night": (NIGHT, "2026-10-24 20:00", True, "2026-10-25 06:00"),
    "it ends the first time": (hours("20:00-02:30"), "2026-10-24 20:00", True, "2026-10-25 02:30"),
    "and stays closed the second time": (hours("20:00-02:30"), "2026-10-25 02:10 fold", False, "2026-10-25 20:00"),
    "it starts the first time": (hours("02:30-06:00"), "2026-10-25 02:00", False, "2026-10-25 02:30"),
    "and is open the second time": (hours("02:30-06:00"), "2026-10-25 02:10 fold", True, "2026-10-25 06:00"),
    # Rental.
    "before the rental": (hours(rentalStart="2026-12-01T17:00:00Z"), "2026-11-20 12:00", False, "2026-12-01 18:00"),
    "within the rental": (hours(rentalEnd="2026-12-01T17:00:00+01:00"), "2026-11-20 12:00", True, "2026-12-01 17:00"),
    "after the rental": (hours(rentalEnd="2026-11-20T11:00:00Z"), "2026-11-20 12:00", False, None),
    "the rental ends in a window": (
        hours("20:00-06:00", rentalEnd="2026-11-21T00:00:00Z"),
        "2026-11-20 21:00",
        True,
        "2026-11-21 01:00",
    ),
    "the first window of a rental to come": (
        hours("20:00-06:00", rentalStart="2027-02-01T11:00:00Z"),
        "2026-11-20 21:00",
        False,
        "2027-02-01 20:00",
    ),
    "a rental that begins in a window": (
        hours("20:00-06:00", rentalStart="2027-02-01T23:00:00Z"),
        "2026-11-20 21:00",
        False,
        "2027-02-02 00:00",
    ),
    "the last window of the rental is over": (
        hours("20:00-06:00", rentalEnd="2026-11-20T18:00:00Z"),
        "2026-11-20 12:00",
        False,
        None,
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_what_is_open_and_what_comes_next(name: str) -> None:
    given_hours, now_text, is_open, change_text = TABLE[name]
    now = at(now_text)
    found = standing(given_hours, now)
    assert (found.now is not None) is is_open
    change = None if change_text is None else at(change_text)
    if is_open:
        assert time_left(given_hours, now) == (None if change is None else (change - now).total_seconds())
        assert next_opening(given_hours, now) is None
    else:
        assert time_left(given_hours, now) == 0.0
        assert next_opening(given_hours, now) == change


def test_a_closed_mac_knows_when_it_closed() -> None:
    last = standing(NIGHT, at("2026-11-20 12:00")).last
    assert last is not None and last.end == at("2026-11-20 06:00")
    assert standing(hours(rentalEnd="2026-11-20T11:00:00Z"), at("2026-11-20 12:00")).in_rental is False


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"timeZone": "Europe/Berln"}, "spec.availability.timeZone: the time zone database has no Europe/Berln"),
        ({"timeZone": "Europe"}, "spec.availability.timeZone: the time zone database has no Europe"),
        ({"rentalEnd": "2026-02-30T00:00:00Z"}, "spec.availability.rentalEnd: there is no time 2026-02-30T00:00:00Z"),
    ],
)
def test_what_cannot_be_read_is_named(fields: dict[str, str], told: str) -> None:
    bad = OpeningHours.load({"windows": [{"start": "20:00", "end": "06:00"}], "timeZone": BERLIN, **fields})
    with pytest.raises(UnusableHours, match=told):
        standing(bad, at("2026-11-20 12:00"))


def test_a_time_is_told_as_the_clock_on_the_wall_shows_it() -> None:
    assert local_text(NIGHT, datetime(2026, 11, 20, 19, tzinfo=UTC)) == "2026-11-20 20:00 Europe/Berlin"
    assert local_text(hours(zone="UTC"), datetime(2026, 11, 20, 19, tzinfo=UTC)) == "2026-11-20 19:00 UTC"


def by_the_rule(given_hours: OpeningHours, now: datetime) -> bool:
    """Whether any window of the days around holds the moment, one by one."""
    assert given_hours.time_zone is not None
    zone = ZoneInfo(given_hours.time_zone)
    today = now.astimezone(zone).date()
    for window in given_hours.windows:
        for offset in (-2, -1, 0, 1):
            day = today + timedelta(days=offset)
            if window.days and DAYS[day.weekday()] not in [item.value for item in window.days]:
                continue
            ends = day + timedelta(days=1 if window.end < window.start or window.end == "24:00" else 0)
            end_text = "00:00" if window.end == "24:00" else window.end
            start = datetime.combine(day, time.fromisoformat(window.start), zone).astimezone(UTC)
            end = datetime.combine(ends, time.fromisoformat(end_text), zone).astimezone(UTC)
            if start <= now < end:
                return True
    return False


CLOCK = st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.sampled_from([0, 15, 30, 59]))
WINDOWS = st.lists(
    st.builds(
        lambda days, start, end: f"{','.join(days)} {start}-{end}".strip(),
        st.lists(st.sampled_from(DAYS), unique=True, max_size=3),
        CLOCK,
        st.one_of(CLOCK, st.just("24:00")),
    ).filter(lambda text: len(set(text.rpartition(" ")[2].split("-"))) == 2),
    min_size=1,
    max_size=3,
)
ZONES = st.sampled_from([BERLIN, "America/St_Johns", "Australia/Lord_Howe", "Africa/Cairo", "Pacific/Apia", "UTC"])
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 # with UTC


@given(WINDOWS, ZONES, MOMENTS)
def test_it_is_open_when_a_window_says_so_until_it_says_to_change(windows: list[str], zone: str, now: datetime) -> None:
    given_hours = hours(*windows, zone=zone)
    found = standing(given_hours, now)
    assert (found.now is not None) is by_the_rule(given_hours, now)
    change = found.next_start if found.now is None else found.now.end
    if change is not None:
        assert now < change <= now + timedelta(days=9)
        assert by_the_rule(given_hours, change) is (found.now is None)
        assert by_the_rule(given_hours, change - timedelta(seconds=1)) is (found.now is not None)
    else:
        assert found.now is not None, "windows come again every week"
