"""Why the model had to wait for decoded audio: where the time of the decoding thread went before a piece was there."""

from __future__ import annotations

import os
import stat
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from voxfleet_api.run_record import UnderrunCause

READ_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class DecodeTimes:
    """The time of the decoding thread for one piece, without any wait for room in the ring."""

    wall_ns: int
    """Since it was done with the piece before, or since it was given this one's batch while it had nothing to do."""
    processor_ns: int
    """In which a processor worked for it."""
    disk_ns: int
    """In which it waited for the clip's bytes in a read."""


NO_TIME = DecodeTimes(0, 0, 0)


def underrun_cause(times: DecodeTimes) -> UnderrunCause:
    """What took most of the time. Pure.

    What is neither work nor a wait for the disk is a wait for a processor: others had it, or the interpreter, or pages
    that were swapped out.
    """
    shares = {
        UnderrunCause.DECODE: times.processor_ns,
        UnderrunCause.DISK: times.disk_ns,
        UnderrunCause.SCHEDULING: times.wall_ns - times.processor_ns - times.disk_ns,
    }
    return max(shares, key=shares.__getitem__)


class DecodeMeter:
    """Measures the times of the thread that calls it."""

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.monotonic_ns,
        processor_ns: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        self._now_ns = wall_ns
        self._worked_ns = processor_ns
        self._buffer = bytearray(READ_BYTES)
        self.restart()

    def restart(self) -> None:
        """What came before belongs to no piece."""
        self._since_ns, self._worked_before_ns, self._disk_ns = self._now_ns(), self._worked_ns(), 0

    def given_work(self, at_ns: int) -> None:
        """A batch was queued at `at_ns`. If the thread had nothing to do by then, its next piece is late from there."""
        self._since_ns = max(self._since_ns, at_ns)

    def piece_done(self) -> DecodeTimes:
        """The times since the last call, or since `restart` or `given_work`."""
        times = DecodeTimes(
            wall_ns=max(0, self._now_ns() - self._since_ns),
            processor_ns=max(0, self._worked_ns() - self._worked_before_ns),
            disk_ns=self._disk_ns,
        )
        self.restart()
        return times

    def read_through(self, path: Path) -> None:
        """Reads the file once, so that the decoder, which reads while it computes, finds it in memory.

        Only so can the wait for the disk be told from the rest. What cannot be read is left to the decoder, which says
        what that means.
        """
        began_ns, worked_ns = self._now_ns(), self._worked_ns()
        with suppress(OSError):
            self._read(path)
        self._disk_ns += max(0, (self._now_ns() - began_ns) - (self._worked_ns() - worked_ns))

    def _read(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would block for ever
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                while os.readv(descriptor, [self._buffer]):
                    pass
        finally:
            os.close(descriptor)


class Underruns:
    """Counts the waits of the model for decoded audio while clips are in the lane. Of one ring."""

    def __init__(self) -> None:
        self.by_cause: Counter[UnderrunCause] = Counter()
        self._waiting = False

    @property
    def total(self) -> int:
        return self.by_cause.total()

    def model_waits(self) -> None:
        """The model has nothing to work on. A wait that something else than audio interrupts is still the same one."""
        self._waiting = True

    def audio_arrived(self, times: DecodeTimes) -> None:
        """`times`: those of the piece, or of the clip's end, that arrived. A wait is counted as it ends."""
        if self._waiting:
            self._waiting = False
            self.by_cause[underrun_cause(times)] += 1
