"""Shows a run's progress on standard error: a bar on a terminal, lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as RemainingColumn

MAX_GAP_SECONDS = 10.0
STEP_PERCENT = 10


class ProgressReporter(Protocol):
    def say(self, text: str) -> None:
        """Prints one line about what happens now."""
        ...

    def clips(self, stage: str, done: int, total: int) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def progress_reporter(stream: TextIO) -> ProgressReporter:
    return ProgressBar(stream) if stream.isatty() else ProgressLines(stream)


class ProgressLines:
    """Prints a line at every tenth of a stage, and whenever ten seconds pass without one."""

    def __init__(self, stream: TextIO, now: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._now = now
        self._stage = ""
        self._step = -1
        self._printed_at = now()

    def say(self, text: str) -> None:
        self._printed_at = self._now()
        print(text, file=self._stream, flush=True)

    def clips(self, stage: str, done: int, total: int) -> None:
        step = done * 100 // max(1, total) // STEP_PERCENT
        if stage != self._stage:
            self._stage, self._step = stage, -1
        if step == self._step and self._now() - self._printed_at < MAX_GAP_SECONDS:
            return
        self._step = step
        self.say(f"{stage}: {done} of {total} clips")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class ProgressBar:
    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream)
        self._progress = Progress(
            TextColumn("{task.description:>8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("clips"),
            TimeElapsedColumn(),
            RemainingColumn(),
            console=self._console,
        )
        self._tasks: dict[str, TaskID] = {}

    def say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)

    def clips(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total)
        self._progress.update(self._tasks[stage], completed=done, total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
