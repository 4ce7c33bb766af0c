"""What a lane is held for, on clocks that sleep, step and pass months."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from voxfleet_agent.attempts.lane_meter import LaneMeter
from voxfleet_agent.attempts.meter_clock import MeterClock
from voxfleet_agent.clock import timestamp
from voxfleet_agent.journal.lane_holds import LaneHold
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.ledger import Activity

EVENING = datetime(2026, 11, 20, 22, tzinfo=UTC)
BEFORE_MIDNIGHT = datetime(2026, 11, 30, 23, 59, 58, tzinfo=UTC)


class ManualClock:
    def __init__(self, start: datetime = EVENING) -> None:
        self.metered = 500
        self.now = start

    def advance(self, milliseconds: int, *, asleep: bool = False) -> None:
        self.now += timedelta(milliseconds=milliseconds)
        self.metered += 0 if asleep else milliseconds

    def metered_milliseconds(self) -> int:
        return self.metered

    def lease_seconds(self) -> float:
        return self.now.timestamp()

    def wall(self) -> datetime:
        return self.now


def meter_on(clock: ManualClock) -> LaneMeter:
    return LaneMeter(MeterClock(clock), "boot", AttemptKey("shard", 1), "offline-0", "Offline")


def shown(*holds: LaneHold) -> list[tuple[str, str, int]]:
    """Day and time of both ends, and the milliseconds."""
    return [(hold.wall_start[5:-1], hold.wall_end[5:-1], hold.milliseconds) for hold in holds]


def test_activities_follow_each_other_without_a_gap() -> None:
    clock = ManualClock()
    meter = meter_on(clock)
    clock.advance(1200)
    (setup,) = meter.switch(Activity.WORK)
    clock.advance(34)
    meter.add(5000, clips=1)
    meter.add(audio_milliseconds=2000)
    assert meter.tick() == []
    work = meter.hold
    assert (setup.activity, setup.milliseconds, setup.audio_milliseconds) == (Activity.SETUP, 1200, 0)
    assert (work.activity, work.milliseconds, work.audio_milliseconds, work.clips) == (Activity.WORK, 34, 7000, 1)
    assert setup.wall_end == work.wall_start == "2026-11-20T22:00:01.200Z" and work.price_class == "Offline"


def test_a_stopped_meter_no_longer_counts() -> None:
    clock = ManualClock()
    meter = meter_on(clock)
    clock.advance(1000)
    meter.stop()
    clock.advance(9000)
    meter.stop()
    assert meter.tick() == []
    assert [hold.milliseconds for hold in meter.end()] == [1000]


def test_sleep_shows_as_wall_time_and_is_not_metered() -> None:
    clock = ManualClock()
    meter = meter_on(clock)
    clock.advance(1000)
    clock.advance(3_600_000, asleep=True)
    assert shown(*meter.end()) == [("11-20T22:00:00.000", "11-20T23:00:01.000", 1000)]


def test_a_row_ends_with_its_month_and_another_goes_on() -> None:
    clock = ManualClock(BEFORE_MIDNIGHT)
    meter = meter_on(clock)
    meter.add(7000, clips=3)
    clock.advance(3000)
    (november,) = meter.tick()
    clock.advance(500)
    (december,) = meter.end()
    assert shown(november, december) == [
        ("11-30T23:59:58.000", "12-01T00:00:00.000", 2000),
        ("12-01T00:00:00.000", "12-01T00:00:01.500", 1500),
    ]
    assert (november.clips, december.clips) == (3, 0)


def test_time_up_to_the_border_itself_is_one_row() -> None:
    clock = ManualClock(BEFORE_MIDNIGHT)
    meter = meter_on(clock)
    clock.advance(2000)
    assert shown(*meter.end()) == [("11-30T23:59:58.000", "12-01T00:00:00.000", 2000)]


def test_sleep_over_the_border_belongs_to_no_row() -> None:
    clock = ManualClock(BEFORE_MIDNIGHT)
    meter = meter_on(clock)
    clock.advance(1000)
    clock.advance(40 * 24 * 3_600_000, asleep=True)
    ended = meter.tick()
    clock.advance(700)
    assert shown(*ended, *meter.end()) == [
        ("11-30T23:59:58.000", "11-30T23:59:59.000", 1000),
        ("01-09T23:59:59.000", "01-09T23:59:59.700", 700),
    ]


def test_a_clock_that_is_set_forward_is_believed_and_bills_nothing_more() -> None:
    clock = ManualClock(BEFORE_MIDNIGHT)
    meter = meter_on(clock)
    clock.advance(1000)
    clock.now += timedelta(hours=1)
    ended = meter.tick()
    assert sum(hold.milliseconds for hold in (*ended, *meter.end())) == 1000


def test_a_clock_that_is_set_back_ends_the_row_as_the_old_clock_had_it() -> None:
    clock = ManualClock(BEFORE_MIDNIGHT + timedelta(minutes=10))
    meter = meter_on(clock)
    clock.advance(1000)
    clock.now -= timedelta(hours=1)
    clock.advance(500)
    ended = meter.tick()
    clock.advance(250)
    assert shown(*ended, *meter.end()) == [
        ("12-01T00:09:58.000", "12-01T00:09:59.500", 1500),
        ("11-30T23:09:59.500", "11-30T23:09:59.750", 250),
    ]


def test_a_small_correction_of_the_clock_makes_no_row() -> None:
    clock = ManualClock()
    meter = meter_on(clock)
    clock.advance(5000)
    clock.now -= timedelta(seconds=2)
    clock.advance(1000)
    assert shown(*meter.end()) == [("11-20T22:00:00.000", "11-20T22:00:06.000", 6000)]


def test_rows_of_a_lane_do_not_overlap_after_a_small_correction() -> None:
    clock = ManualClock()
    shared = MeterClock(clock)
    first = LaneMeter(shared, "boot", AttemptKey("shard", 1), "offline-0")
    clock.advance(5000)
    (ended,) = first.end()
    clock.now -= timedelta(seconds=2)
    second = LaneMeter(shared, "boot", AttemptKey("shard", 2), "offline-0")
    assert second.hold.wall_start >= ended.wall_end


def test_timestamps_are_utc_with_milliseconds() -> None:
    assert timestamp(datetime.fromisoformat("2026-11-21T01:00:00+02:00")) == "2026-11-20T23:00:00.000Z"


def test_a_reading_at_the_very_end_of_a_month_ends_the_row_there() -> None:
    clock = ManualClock(BEFORE_MIDNIGHT)
    meter = meter_on(clock)
    clock.advance(2000)
    assert meter.tick() == [] and meter.tick() == []
    clock.advance(3000)
    ended = meter.tick()
    assert shown(*ended, meter.hold) == [
        ("11-30T23:59:58.000", "12-01T00:00:00.000", 2000),
        ("12-01T00:00:00.000", "12-01T00:00:03.000", 3000),
    ]
