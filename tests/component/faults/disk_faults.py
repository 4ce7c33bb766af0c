"""A disk that is slow or broken, as some processes and what they start see it: strace delays or fails their calls."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path


class FaultyDisk:
    def __init__(self, log: Path) -> None:
        self._log = log

    def met(self) -> int:
        """Calls that were tampered with."""
        return sum(mark in line for line in self._log.read_text().splitlines() for mark in ("(DELAYED)", "(INJECTED)"))


@contextlib.contextmanager
def disk_faults(
    pids: Sequence[int], log: Path, faults: Sequence[str], *, only: Path | None = None
) -> Iterator[FaultyDisk]:
    """`faults`: as strace's `inject` has them, for example `fsync:error=EIO`; `only`: the one file that they are for.

    What the processes start later is troubled too.
    """
    calls = ",".join(fault.partition(":")[0] for fault in faults)
    command = ["strace", "-f", "-e", f"trace={calls}", "-s", "0", "-o", str(log)]
    command += [part for pid in pids for part in ("-p", str(pid))]
    command += [part for fault in faults for part in ("-e", f"inject={fault}")]
    command += [] if only is None else ["-P", str(only)]
    strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert strace.stderr is not None
    try:
        attached = 0
        for line in strace.stderr:
            attached += "attached" in line
            if attached == len(pids):
                break
        else:
            raise RuntimeError("strace cannot trouble another process here")
        yield FaultyDisk(log)
    finally:
        if strace.poll() is None:
            strace.send_signal(signal.SIGINT)
        strace.communicate()
