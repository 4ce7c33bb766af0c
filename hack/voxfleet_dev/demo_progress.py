"""Shows a job's progress: a bar on a terminal, one line per change elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from voxfleet_api.conditions import ConditionType, find
from voxfleet_api.kinds import AudioBatchJob

Show = Callable[[AudioBatchJob], None]


@contextmanager
def job_progress(console: Console) -> Iterator[Show]:
    if console.is_terminal:
        with _bar(console) as show:
            yield show
    else:
        yield _lines(console)


@contextmanager
def _bar(console: Console) -> Iterator[Show]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("clips"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("Pending", total=None)

        def show(job: AudioBatchJob) -> None:
            total = job.status.clips.total or None
            progress.update(task, description=_state(job), total=total, completed=_done(job))

        yield show


def _lines(console: Console) -> Show:
    last = ""

    def show(job: AudioBatchJob) -> None:
        nonlocal last
        line = f"demo: {_state(job)}, {_done(job)} of {job.status.clips.total or '?'} clips done"
        if line != last:
            console.print(line)
            last = line

    return show


def _state(job: AudioBatchJob) -> str:
    found = find(job.status.conditions, ConditionType.COMPLETE)
    state = found.reason if found else "Pending"
    return f"{state} ({job.status.pending_reason})" if job.status.pending_reason else state


def _done(job: AudioBatchJob) -> int:
    clips = job.status.clips
    return clips.succeeded + clips.quarantined + clips.failed + clips.not_run
