"""Measures how long a run takes by this machine's clock, what machine time it may have used, and when it ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from voxfleet_agent.clock import SystemClock, timestamp
from voxfleet_agent.durable_files import replace_file

SAVE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Elapsed:
    milliseconds: int
    """Wall time of a run and of the interrupted runs that it resumes."""
    ended_at: str | None
    """When anything last ran, in RFC 3339; None: nothing ever ran."""
    machine_milliseconds: int = 0
    """Wall time times the lanes of each command. Never less than was used: of one that was killed, up to SAVE_SECONDS
    more."""


class Stopwatch:
    def __init__(
        self,
        file: Path,
        lanes: int,
        now_seconds: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] | None = None,
    ) -> None:
        self._file = file
        self._lanes = lanes
        self._now_seconds = now_seconds
        self._wall = wall or SystemClock().wall
        self._began_seconds = now_seconds()
        self.before = _stored(file, lanes)
        """What earlier commands of this run took."""
        self.worked = False
        """Whether this command had anything left to do."""

    def work(self) -> None:
        """Call it before anything runs."""
        if not self.worked:
            self.worked = True
            self.save()

    def save(self) -> None:
        """Makes the time durable that a command which is killed has taken. Call it every SAVE_SECONDS.

        Machine time is written SAVE_SECONDS ahead, or a run that is killed again and again would never reach its limit.
        """
        if self.worked:
            with suppress(OSError):  # of a full disk the journal tells, and `stop`
                self._store(self._elapsed(), ahead_milliseconds=round(SAVE_SECONDS * 1000) * self._lanes)

    def stop(self) -> Elapsed:
        """Returns the time up to now; a command that only shows a finished run adds no time. Raises OSError."""
        if not self.worked:
            return self.before
        elapsed = self._elapsed()
        self._store(elapsed)
        return elapsed

    def _elapsed(self) -> Elapsed:
        passed_milliseconds = round((self._now_seconds() - self._began_seconds) * 1000)
        return Elapsed(
            self.before.milliseconds + passed_milliseconds,
            timestamp(self._wall()),
            self.before.machine_milliseconds + passed_milliseconds * self._lanes,
        )

    def _store(self, elapsed: Elapsed, ahead_milliseconds: int = 0) -> None:
        stored = {
            "wallMilliseconds": elapsed.milliseconds,
            "machineMilliseconds": elapsed.machine_milliseconds + ahead_milliseconds,
            "endedAt": elapsed.ended_at,
        }
        replace_text(self._file, json.dumps(stored))


def _stored(file: Path, lanes: int) -> Elapsed:
    """`lanes`: what a file of an earlier version, which has no machine time, is taken to have used all the time."""
    try:
        stored = json.loads(file.read_text())
        wall_milliseconds = int(stored["wallMilliseconds"])
        machine_milliseconds = int(stored.get("machineMilliseconds", wall_milliseconds * lanes))
        return Elapsed(wall_milliseconds, str(stored["endedAt"]), machine_milliseconds)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # a run goes on without it
        return Elapsed(0, None)


def replace_text(file: Path, text: str) -> None:
    """Replaces a file's content atomically and durably. Raises OSError."""
    replace_file(file, text.encode())
