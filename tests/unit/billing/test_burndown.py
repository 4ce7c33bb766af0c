"""A month's budget against its nights."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from voxfleet_billing.burndown import COLUMNS, burndown, hours
from voxfleet_billing.nights import NightClock, night_in, nights_of

HOUR = 3_600_000
BERLIN = NightClock(ZoneInfo("Europe/Berlin"), time(7))
NIGHTS = nights_of("2026-11")
NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)


def test_a_row_belongs_to_the_night_of_its_evening() -> None:
    assert len(NIGHTS) == 30 and len(nights_of("2028-02")) == 29
    told = {
        "2026-11-05T20:00:00.000Z": date(2026, 11, 5),
        "2026-11-06T05:59:59.999Z": date(2026, 11, 5),  # 06:59 in Berlin
        "2026-11-06T06:00:00.000Z": date(2026, 11, 6),
        "2026-11-01T03:00:00.000Z": date(2026, 11, 1),  # of a night of October, but in this month's budget
    }
    assert {start: night_in(NIGHTS, BERLIN, start) for start in told} == told


def test_nights_use_up_the_budget() -> None:
    used = {date(2026, 11, 1): 4 * HOUR, date(2026, 11, 3): 6 * HOUR}
    lines = list(burndown(NIGHTS, used, 60 * HOUR, NOW))
    assert len(lines) == 30 and len(lines[0].cells()) == len(COLUMNS)
    assert lines[0].cells() == ("2026-11-01", "60.0000", "4.0000", "4.0000", "56.0000", "58.0000", "56.0000", "6.7")
    assert lines[2].cells()[2:6] == ("6.0000", "10.0000", "50.0000", "54.0000")
    assert lines[9].used == 0 and lines[10].used is None
    assert lines[10].cells() == ("2026-11-11", "60.0000", "", "", "", "38.0000", "49.0000", "")
    assert lines[-1].ideal_remaining == 0 and lines[-1].forecast_remaining == 30 * HOUR


def test_a_budget_that_is_exceeded_is_negative() -> None:
    (first, *_) = burndown(NIGHTS, {date(2026, 11, 1): 3 * HOUR}, 2 * HOUR, NOW)
    assert hours(first.remaining) == "-1.0000" and first.cells()[-1] == "150.0"


@given(
    st.dictionaries(st.sampled_from(NIGHTS), st.integers(0, 10**10), max_size=30),
    st.integers(1, 10**12),
    st.datetimes(datetime(2026, 10, 1), datetime(2027, 2, 1), timezones=st.just(UTC)),  # noqa: DTZ001 # bounds are naive
)
def test_nothing_is_lost(used: dict[date, int], budget: int, now: datetime) -> None:
    lines = list(burndown(NIGHTS, used, budget, now, BERLIN))
    over = [line for line in lines if line.used is not None]
    assert sum(line.used or 0 for line in over) == lines[-1].cumulative
    assert all(line.remaining == budget - line.cumulative for line in over)
    assert [line.night for line in lines] == NIGHTS
    if len(over) == len(lines):
        assert lines[-1].forecast_remaining == budget - sum(used.values())
