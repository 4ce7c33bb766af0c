"""Attaches strace to running processes."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path


@contextlib.contextmanager
def attached(pids: Sequence[int], log: Path, options: Sequence[str]) -> Iterator[None]:
    """Traces the processes and their descendants for the duration of the context.

    Raises RuntimeError when the system does not allow it.
    """
    command = ["strace", "-f", "-o", str(log), *options, *(part for pid in pids for part in ("-p", str(pid)))]
    strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert strace.stderr is not None
    try:
        count = 0
        for line in strace.stderr:
            count += "attached" in line
            if count == len(pids):
                break
        else:
            raise RuntimeError("strace cannot watch another process here")
        yield
    finally:
        if strace.poll() is None:
            strace.send_signal(signal.SIGINT)
        strace.communicate()
