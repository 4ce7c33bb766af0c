"""A progress bar on a terminal; nothing elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

EACH_LINES = 2000

T = TypeVar("T")


class Bar:
    """A context manager. `what` stands before the bar, and `total` is how much there is of it."""

    def __init__(self, what: str, total: int) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task: TaskID = self._progress.add_task(what, total=total)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, done: int) -> None:
        self._progress.advance(self._task, done)

    def counted(self, items: Iterable[T]) -> Iterator[T]:
        """The same items; each counts once the next is asked for."""
        for item in items:
            yield item
            self.advance(1)

    def read(self, lines: Iterable[str], file: BinaryIO) -> Iterator[str]:
        """The same lines, which are read from this file; `total` is its size in bytes."""
        for number, line in enumerate(lines):
            if number % EACH_LINES == 0:
                self._progress.update(self._task, completed=file.tell())
            yield line
