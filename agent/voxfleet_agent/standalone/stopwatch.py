"""How long a run took, by this machine's watch, and when it ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from voxfleet_agent.clock import SystemClock, timestamp


@dataclass(frozen=True, slots=True)
class Elapsed:
    milliseconds: int
    """Wall time of a run and of those that it goes on from."""
    ended_at: str | None
    """RFC 3339, of the last time that anything ran; None: nothing ever did."""


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
        self._before = _stored(file)

    def stop(self, worked: bool) -> Elapsed:
        """Up to now; what was only looked at again takes no time and ends nothing."""
        if not worked:
            return self._before
        passed = round((self._now_seconds() - self._began_seconds) * 1000)
        elapsed = Elapsed(self._before.milliseconds + passed, timestamp(self._wall()))
        told = {"wallMilliseconds": elapsed.milliseconds, "endedAt": elapsed.ended_at}
        replace_text(self._file, json.dumps(told))
        return elapsed


def _stored(file: Path) -> Elapsed:
    try:
        stored = json.loads(file.read_text())
        return Elapsed(int(stored["wallMilliseconds"]), str(stored["endedAt"]))
    except (OSError, ValueError, KeyError, TypeError):  # only two lines of the summary hang on it
        return Elapsed(0, None)


def replace_text(file: Path, text: str) -> None:
    """Whole or not at all, whenever the process is killed. Raises OSError."""
    unfinished = file.with_suffix(".tmp")
    unfinished.write_text(text)
    unfinished.rename(file)
