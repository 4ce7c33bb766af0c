"""Memory of other processes."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

SAMPLE_SECONDS = 0.1


class PeakResident:
    """The largest resident memory of one process while the context is open: the kernel's own mark on Linux, sampled
    elsewhere."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._sampled = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        if sys.platform == "linux":
            Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")  # the mark starts over
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def peak_bytes(self) -> int:
        if sys.platform == "linux":
            for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return self._sampled

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self._sampled = max(self._sampled, self._process.memory_info().rss)


def slope(values: list[float]) -> float:
    """Growth from one value to the next, by least squares. Raises ValueError for fewer than two."""
    count = len(values)
    if count < 2:
        raise ValueError("a slope needs two values")
    middle = (count - 1) / 2
    mean = sum(values) / count
    above = sum((number - middle) * (value - mean) for number, value in enumerate(values))
    return above / sum((number - middle) ** 2 for number in range(count))
