"""How long a run took over all its interruptions, and when it ended."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from voxfleet_agent.standalone.stopwatch import Elapsed, Stopwatch

NIGHT = datetime(2026, 11, 20, 22, tzinfo=UTC)


def stopped(file: Path, seconds: float, day: int, *, worked: bool = True) -> Elapsed:
    readings = iter((0.0, seconds))
    return Stopwatch(file, lambda: next(readings), lambda: NIGHT.replace(day=day)).stop(worked)


def test_the_parts_of_a_run_add_up_and_showing_it_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "elapsed.json"
    assert stopped(file, 5, 20, worked=False) == Elapsed(0, None)
    assert stopped(file, 2, 20) == Elapsed(2000, "2026-11-20T22:00:00.000Z")
    second = stopped(file, 1.5, 21)
    assert second == Elapsed(3500, "2026-11-21T22:00:00.000Z")
    assert stopped(file, 9, 22, worked=False) == second
    assert Stopwatch(file).before_milliseconds == 3500


def test_a_damaged_file_loses_only_the_earlier_time(tmp_path: Path) -> None:
    (tmp_path / "elapsed.json").write_text("{}")
    assert stopped(tmp_path / "elapsed.json", 1, 20).milliseconds == 1000
