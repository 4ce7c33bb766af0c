from __future__ import annotations

from datetime import UTC, datetime, timedelta

from voxfleet_agent.attempts.lane_meter import LaneMeter
from voxfleet_agent.clock import timestamp
from voxfleet_api.ledger import Activity
from voxfleet_api.protocol import AttemptKey


class ManualClock:
    def __init__(self) -> None:
        self.metered = 500
        self.elapsed = timedelta()

    def advance(self, milliseconds: int, *, asleep: bool = False) -> None:
        self.elapsed += timedelta(milliseconds=milliseconds)
        self.metered += 0 if asleep else milliseconds

    def metered_milliseconds(self) -> int:
        return self.metered

    def lease_seconds(self) -> float:
        return self.elapsed.total_seconds()

    def wall(self) -> datetime:
        return datetime(2026, 11, 20, 22, tzinfo=UTC) + self.elapsed


def test_activities_follow_each_other_without_a_gap() -> None:
    clock = ManualClock()
    meter = LaneMeter(clock, "boot", AttemptKey("shard", 1), "offline-0")
    clock.advance(1200)
    setup = meter.switch(Activity.WORK)
    clock.advance(34)
    meter.add_audio(5000)
    meter.add_audio(2000)
    work = meter.hold()
    assert (setup.activity, setup.milliseconds, setup.audio_milliseconds) == (Activity.SETUP, 1200, 0)
    assert (work.activity, work.milliseconds, work.audio_milliseconds) == (Activity.WORK, 34, 7000)
    assert setup.wall_end == work.wall_start == "2026-11-20T22:00:01.200Z"


def test_a_stopped_meter_no_longer_counts() -> None:
    clock = ManualClock()
    meter = LaneMeter(clock, "boot", AttemptKey("shard", 1), "offline-0")
    clock.advance(1000)
    stopped = meter.stop()
    clock.advance(9000)
    assert meter.hold() == meter.stop() == stopped and stopped.milliseconds == 1000


def test_sleep_shows_as_wall_time_and_is_not_metered() -> None:
    clock = ManualClock()
    meter = LaneMeter(clock, "boot", AttemptKey("shard", 1), "offline-0")
    clock.advance(1000)
    clock.advance(3_600_000, asleep=True)
    hold = meter.stop()
    assert hold.milliseconds == 1000
    assert (hold.wall_start, hold.wall_end) == ("2026-11-20T22:00:00.000Z", "2026-11-20T23:00:01.000Z")


def test_timestamps_are_utc_with_milliseconds() -> None:
    assert timestamp(datetime.fromisoformat("2026-11-21T01:00:00+02:00")) == "2026-11-20T23:00:00.000Z"
