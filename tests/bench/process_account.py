"""What a process holds: memory, open files, threads and, where it counts them, tasks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from tests.bench.counted_tasks import tasks_of
from tests.bench.failure import MeasurementFailed

TOLD_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ProcessAccount:
    resident_bytes: int
    files: int
    threads: int
    tasks: int | None
    """Of asyncio; None where nobody counts them."""

    def __str__(self) -> str:
        tasks = "" if self.tasks is None else f", {self.tasks} tasks"
        return f"{self.resident_bytes / 2**20:.1f} MiB, {self.files} files, {self.threads} threads{tasks}"


def account_of(pid: int, tasks_file: Path | None = None) -> ProcessAccount:
    """`tasks_file`: of a process that runs under counted_tasks. Raises MeasurementFailed, psutil.Error."""
    process = psutil.Process(pid)
    tasks = None if tasks_file is None else _told(lambda: tasks_of(pid, tasks_file))
    with process.oneshot():
        return ProcessAccount(process.memory_info().rss, process.num_fds(), process.num_threads(), tasks)


def _told(ask: Callable[[], int | None]) -> int:
    deadline = time.monotonic() + TOLD_SECONDS
    while (told := ask()) is None:
        if time.monotonic() > deadline:
            raise MeasurementFailed("a process did not count its tasks")
        time.sleep(0.05)
    return told
