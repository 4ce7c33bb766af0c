"""Measures how long a run takes by this machine's clock, and when it ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from voxfleet_agent.clock import SystemClock, timestamp
from voxfleet_agent.durable_files import replace_file


@dataclass(frozen=True, slots=True)
class Elapsed:
    milliseconds: int
    """Wall time of a run and of the interrupted runs that it resumes."""
    ended_at: str | None
    """When anything last ran, in RFC 3339; None: nothing ever ran."""


class Stopwatch:
    def __init__(
        self,
        file: Path,
        now_seconds: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] | None = None,
    ) -> None:
        self._file = file
        self._now_seconds = now_seconds
        self._wall = wall or SystemClock().wall
        self._began_seconds = now_seconds()
        self._previous = _stored(file)

    @property
    def before_milliseconds(self) -> int:
        """Wall time of the earlier commands of this run."""
        return self._previous.milliseconds

    def stop(self, worked: bool) -> Elapsed:
        """Returns the time up to now; a command that only shows a finished run adds no time."""
        if not worked:
            return self._previous
        passed_milliseconds = round((self._now_seconds() - self._began_seconds) * 1000)
        elapsed = Elapsed(self._previous.milliseconds + passed_milliseconds, timestamp(self._wall()))
        stored = {"wallMilliseconds": elapsed.milliseconds, "endedAt": elapsed.ended_at}
        replace_text(self._file, json.dumps(stored))
        return elapsed


def _stored(file: Path) -> Elapsed:
    try:
        stored = json.loads(file.read_text())
        return Elapsed(int(stored["wallMilliseconds"]), str(stored["endedAt"]))
    except (OSError, ValueError, KeyError, TypeError):  # the file matters only for two lines of the summary
        return Elapsed(0, None)


def replace_text(file: Path, text: str) -> None:
    """Replaces a file's content atomically and durably. Raises OSError."""
    replace_file(file, text.encode())
