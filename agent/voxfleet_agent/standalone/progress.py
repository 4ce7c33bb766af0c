"""Shows a run's progress on standard error: a bar on a terminal, lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

MAX_GAP_SECONDS = 10.0
"""Within this time, a step shows in a log."""
REFRESH_SECONDS = 1.0
"""How often the run calls `refresh`."""
STEP_PERCENT = 10


@dataclass(frozen=True, slots=True)
class StageProgress:
    stage: str
    done: int
    total: int
    """Clips."""
    audio_milliseconds: int = 0
    """Audio that is worked through, parts of clips included."""
    total_audio_milliseconds: int = 0
    """0: the stage does not count audio, or nobody knows how much there is."""

    @property
    def share(self) -> tuple[int, int]:
        """How much of the stage is done, and how much there is: audio where it is known, else clips."""
        if self.total_audio_milliseconds:
            return self.audio_milliseconds, self.total_audio_milliseconds
        return self.done, self.total

    @property
    def text(self) -> str:
        clips = f"{self.done} of {self.total} clip{'s' * (self.total != 1)}"
        if not self.total_audio_milliseconds:
            return clips
        return f"{clips}, {clock_text(self.audio_milliseconds)} of {clock_text(self.total_audio_milliseconds)} of audio"


class TimeLeft:
    """How long a stage will still take, by the work done since its first step forward. Loading a model comes before."""

    def __init__(self) -> None:
        self._stage = ""
        self._start: tuple[float, int] | None = None
        """When the stage first moved, and how far it had come then."""
        self._initial = 0
        self._seconds: float | None = None
        self._told_at_seconds = 0.0

    def update(self, progress: StageProgress, now_seconds: float) -> None:
        done, total = progress.share
        if progress.stage != self._stage:
            self._stage, self._start, self._initial, self._seconds = progress.stage, None, done, None
        if self._start is None:
            self._start = (now_seconds, done) if done > self._initial else None
        elif done > self._start[1] and now_seconds > self._start[0]:
            self._seconds = (total - done) * (now_seconds - self._start[0]) / (done - self._start[1])
            self._told_at_seconds = now_seconds

    def seconds(self, now_seconds: float) -> float | None:
        """None: nothing can be told yet."""
        return None if self._seconds is None else max(0.0, self._seconds - (now_seconds - self._told_at_seconds))


class ProgressReporter(Protocol):
    def say(self, text: str) -> None:
        """Prints one line about what happens now."""
        ...

    def show(self, progress: StageProgress) -> None: ...

    def refresh(self) -> None:
        """Shows what was held back so as not to fill a log. Call it every REFRESH_SECONDS."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def progress_reporter(stream: TextIO) -> ProgressReporter:
    return ProgressBar(stream) if stream.isatty() else ProgressLines(stream)


class ProgressLines:
    """Prints a line when a stage begins, at every tenth of it, and within ten seconds of any other step."""

    def __init__(self, stream: TextIO, now: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._now = now
        self._shown: StageProgress | None = None
        self._held_back: StageProgress | None = None
        self._shown_at_seconds = 0.0
        self._time_left = TimeLeft()

    def say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def show(self, progress: StageProgress) -> None:
        self._time_left.update(progress, self._now())
        shown = self._shown
        if shown is None or (shown.stage, _tenths(shown)) != (progress.stage, _tenths(progress)):
            self._print(progress)
        elif progress != shown:
            self._held_back = progress
            self.refresh()

    def refresh(self) -> None:
        due_seconds = self._shown_at_seconds + MAX_GAP_SECONDS - REFRESH_SECONDS
        if self._held_back is not None and self._now() >= due_seconds:
            self._print(self._held_back)

    def _print(self, progress: StageProgress) -> None:
        self._shown, self._held_back, self._shown_at_seconds = progress, None, self._now()
        left = self._time_left.seconds(self._now())
        told = "" if left is None else left_text(left)
        self.say(f"{progress.stage}: {progress.text}" + f", {told}" * bool(told))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class ProgressBar:
    """Redraws itself many times a second."""

    def __init__(self, stream: TextIO, now: Callable[[], float] = time.monotonic) -> None:
        self._console = Console(file=stream)
        self._now = now
        self._progress = Progress(
            TextColumn("{task.description:>8}"),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
        )
        self._time_left = TimeLeft()
        self._tasks: dict[str, TaskID] = {}

    def say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)

    def show(self, progress: StageProgress) -> None:
        self._time_left.update(progress, self._now())
        done, total = progress.share
        if progress.stage not in self._tasks:
            self._tasks[progress.stage] = self._progress.add_task(progress.stage, total=total, text="", left="")
        self._progress.update(self._tasks[progress.stage], completed=done, total=total, text=progress.text)
        self.refresh()

    def refresh(self) -> None:
        left = self._time_left.seconds(self._now())
        for stage in list(self._tasks)[-1:]:
            self._progress.update(self._tasks[stage], left="" if left is None else left_text(left))

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def _tenths(progress: StageProgress) -> tuple[int, int]:
    """Of the clips, and of the audio."""
    audio, total_audio = progress.share
    return _tenth(progress.done, progress.total), _tenth(audio, total_audio)


def _tenth(done: int, total: int) -> int:
    return done * 100 // max(1, total) // STEP_PERCENT


def left_text(seconds: float) -> str:
    """Empty below a second."""
    return "" if seconds < 1 else f"{clock_text(round(seconds) * 1000)} left"


def clock_text(milliseconds: int) -> str:
    """12:34, or 1:02:03 from an hour on. Rounded down to the second."""
    minutes, seconds = divmod(milliseconds // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
