"""Shows how much of a recording was sent: a bar on a terminal, a few lines elsewhere, nothing for short ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

LONG_BYTES = 2**20
LINES = 10
Sent = Callable[[int], None]


@contextmanager
def upload_progress(console: Console, total_bytes: int | None) -> Iterator[Sent]:
    """`total_bytes`: None where it is not known. The console is standard error, as results go to the other."""
    if total_bytes is None or total_bytes < LONG_BYTES:
        yield lambda _size: None
    elif console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("sending", total=total_bytes)

            def advance(size: int) -> None:
                progress.advance(task, size)
                if progress.tasks[0].finished:
                    progress.update(task, description="waiting for the text")

            yield advance
    else:
        yield _lines(console, total_bytes)


def _lines(console: Console, total_bytes: int) -> Sent:
    sent_bytes, shown = 0, 0

    def advance(size: int) -> None:
        nonlocal sent_bytes, shown
        sent_bytes += size
        reached = min(LINES, sent_bytes * LINES // total_bytes)
        if reached > shown:
            shown = reached
            console.print(f"voxfleet: sent {sent_bytes / 2**20:.1f} of {total_bytes / 2**20:.1f} MiB")

    return advance
