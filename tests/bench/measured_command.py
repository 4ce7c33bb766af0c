"""A command of ours: how long it takes, and the memory of all of its processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil
from tests.bench.failure import MeasurementFailed

SAMPLE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Measured:
    seconds: float
    processor_seconds: float
    """Of all processes."""
    peak_mebibytes: float
    """Resident, of all processes at one moment; pages that they share count in each."""
    exit_code: int
    output: str


def measured(arguments: Sequence[str], exit_codes: Collection[int] = (0,)) -> Measured:
    """Runs `voxfleet` with these. Raises MeasurementFailed if it ends with another exit code."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "voxfleet_cli.main", *arguments], stdout=output, stderr=errors
        )
        memory = _Memory(process.pid)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        peak_bytes = memory.ended()
        output.seek(0)
        errors.seek(0)
        if process.returncode not in exit_codes:
            told = (output.read() + errors.read())[-2000:]
            raise MeasurementFailed(f"voxfleet {' '.join(arguments[:2])} ended with {process.returncode}: {told}")
        processor_seconds = used.ru_utime + used.ru_stime
        return Measured(seconds, processor_seconds, peak_bytes / 2**20, process.returncode, output.read())


class _Memory:
    def __init__(self, pid: int) -> None:
        self._process, self._peak_bytes = psutil.Process(pid), 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def ended(self) -> int:
        self._ended.set()
        self._thread.join()
        return self._peak_bytes

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            now_bytes = 0
            with suppress(psutil.NoSuchProcess):
                for process in (self._process, *self._process.children(recursive=True)):
                    with suppress(psutil.NoSuchProcess):
                        now_bytes += process.memory_info().rss
            self._peak_bytes = max(self._peak_bytes, now_bytes)
