"""How long a run took over all its interruptions, and when it ended."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from voxfleet_agent.standalone.stopwatch import SAVE_SECONDS, Elapsed, Stopwatch

NIGHT = datetime(2026, 11, 20, 22, tzinfo=UTC)


def started(file: Path, seconds: float, day: int, *, lanes: int = 1) -> Stopwatch:
    readings = iter((0.0, 0.0))
    return Stopwatch(file, lanes, lambda: next(readings, seconds), lambda: NIGHT.replace(day=day))


def stopped(file: Path, seconds: float, day: int, *, lanes: int = 1, worked: bool = True) -> Elapsed:
    stopwatch = started(file, seconds, day, lanes=lanes)
    if worked:
        stopwatch.work()
    return stopwatch.stop()


def test_the_parts_of_a_run_add_up_and_showing_it_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "elapsed.json"
    assert stopped(file, 5, 20, worked=False) == Elapsed(0, None)
    assert stopped(file, 2, 20) == Elapsed(2000, "2026-11-20T22:00:00.000Z", 2000)
    second = stopped(file, 1.5, 21, lanes=4)
    assert second == Elapsed(3500, "2026-11-21T22:00:00.000Z", 8000), "each command has as many lanes as it has"
    assert stopped(file, 9, 22, worked=False) == second
    assert Stopwatch(file, 1).before == second


def test_a_command_that_is_killed_has_taken_no_less_than_it_did(tmp_path: Path) -> None:
    file = tmp_path / "elapsed.json"
    killed = started(file, 7, 20, lanes=2)
    killed.work()
    ahead_milliseconds = round(SAVE_SECONDS * 1000) * 2
    assert Stopwatch(file, 1).before == Elapsed(0, "2026-11-20T22:00:00.000Z", ahead_milliseconds)
    killed.save()
    assert Stopwatch(file, 1).before == Elapsed(7000, "2026-11-20T22:00:00.000Z", 14000 + ahead_milliseconds)
    shown = started(file, 9, 21)
    shown.save()
    assert shown.stop() == shown.before, "it ran nothing"


def test_a_file_of_a_version_without_machine_time_counts_with_all_lanes(tmp_path: Path) -> None:
    file = tmp_path / "elapsed.json"
    file.write_text('{"wallMilliseconds": 2000, "endedAt": "2026-11-20T22:00:00.000Z"}')
    assert Stopwatch(file, 3).before == Elapsed(2000, "2026-11-20T22:00:00.000Z", 6000)


def test_a_damaged_file_loses_only_the_earlier_time(tmp_path: Path) -> None:
    for content in ("{}", "[]", "{", '{"wallMilliseconds": null, "endedAt": ""}'):
        (tmp_path / "elapsed.json").write_text(content)
        assert stopped(tmp_path / "elapsed.json", 1, 20).milliseconds == 1000
