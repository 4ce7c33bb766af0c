"""Observes from outside which files a process opens."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.rig import strace

_OPEN = 0x20  # IN_OPEN
_NONBLOCK = 0o4000
_CALLS = "open,openat,openat2,creat,connect,execve"


class Bait:
    """A folder that no process has a reason to open. The kernel reports every open, by any process."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(_NONBLOCK)
        for path in (folder, *folder.iterdir()):
            if libc.inotify_add_watch(self._descriptor, os.fsencode(path), _OPEN) < 0:
                raise OSError(ctypes.get_errno(), "cannot watch the bait")

    def opened(self) -> bool:
        """Whether anything in the folder was opened since the last call."""
        try:
            return bool(os.read(self._descriptor, 65_536))
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self._descriptor)


class Trace:
    """The output of strace."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def opened(self) -> set[str]:
        """Absolute paths that were opened successfully; not those opened as paths alone, as a lane's bounds are."""
        return {
            path
            for line in self._lines()
            if "O_PATH" not in line
            for path in re.findall(r"(?:open|creat)\w*\(.*\)\s*= \d+<([^>]*)>", line)
            if path.startswith("/")
        }

    def refused(self) -> set[str]:
        """Names that could not be opened."""
        found = (re.search(r'(?:open|creat)\w*\([^"]*"([^"]*)".*= -1', line) for line in self._lines())
        return {match[1] for match in found if match}

    def other_calls(self) -> list[str]:
        """Calls that open connections or start programs."""
        return [line for line in self._lines() if re.search(r"\b(connect|execve)\(", line)]

    def _lines(self) -> Sequence[str]:
        return self._file.read_text(errors="replace").splitlines()


def can_trace() -> bool:
    """Whether strace is installed and may trace a process that is not its own child."""
    if sys.platform != "linux" or shutil.which("strace") is None:
        return False
    probe = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        with tracing([probe.pid], Path(os.devnull)):
            return True
    except RuntimeError:
        return False
    finally:
        probe.communicate()


@contextlib.contextmanager
def tracing(pids: Sequence[int], file: Path) -> Iterator[Trace]:
    """Traces the processes and what they start, while the context is open.

    Raises RuntimeError when the system does not allow it.
    """
    with strace.attached(pids, file, ["-y", "-s", "4096", "-e", f"trace={_CALLS}"]):
        yield Trace(file)
