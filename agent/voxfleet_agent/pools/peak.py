"""The most memory that this process weighed."""

from __future__ import annotations

import contextlib
import re
import resource
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_CLEAR_PEAK = "5"


def peak_bytes() -> int:
    """Peak of the resident set: on Linux since `reset_peak`, on macOS since the process began.

    Not getrusage on Linux: it begins with what the parent weighed when it forked.
    """
    if _STATUS.exists():
        found = re.search(r"^VmHWM:\s*(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
        return 0 if found is None else int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def reset_peak() -> None:
    """Forgets the peak where the system can and lets us; else the peak is that of the process's whole life."""
    with contextlib.suppress(OSError):
        if _CLEAR.exists():
            _CLEAR.write_text(_CLEAR_PEAK)
