"""The memory of a process, now and at its peak. Does not import MLX."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import os
import re
import resource
import sys
from pathlib import Path

import psutil

_RUSAGE_INFO_V0 = 0


class _RusageInfoV0(ctypes.Structure):
    """`struct rusage_info_v0` of macOS's sys/resource.h."""

    _fields_ = (
        ("uuid", ctypes.c_uint8 * 16),
        ("user_time", ctypes.c_uint64),
        ("system_time", ctypes.c_uint64),
        ("idle_wakeups", ctypes.c_uint64),
        ("interrupt_wakeups", ctypes.c_uint64),
        ("pageins", ctypes.c_uint64),
        ("wired_size", ctypes.c_uint64),
        ("resident_size", ctypes.c_uint64),
        ("phys_footprint", ctypes.c_uint64),
        ("start_time", ctypes.c_uint64),
        ("exit_time", ctypes.c_uint64),
    )


def footprint_bytes(pid: int | None = None) -> int:
    """The memory that the system charges to a process, by default to this one.

    It is the physical footprint on macOS, which counts Metal's buffers and compressed pages, and elsewhere the resident
    set. Raises psutil.NoSuchProcess.
    """
    pid = os.getpid() if pid is None else pid
    return _phys_footprint(pid) if sys.platform == "darwin" else int(psutil.Process(pid).memory_info().rss)


def _phys_footprint(pid: int) -> int:
    system = ctypes.CDLL(ctypes.util.find_library("proc"), use_errno=True)
    usage = _RusageInfoV0()
    if system.proc_pid_rusage(pid, _RUSAGE_INFO_V0, ctypes.byref(usage)) != 0:
        raise psutil.NoSuchProcess(pid)
    return int(usage.phys_footprint)


_PROC_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def peak_bytes() -> int:
    """The peak of this process's resident set: on Linux since `reset_peak`, on macOS since the process started.

    On Linux, getrusage is not used, because its peak starts at the size of the parent at the fork.
    """
    if _PROC_STATUS.exists():
        match = re.search(r"^VmHWM:\s*(\d+) kB$", _PROC_STATUS.read_text(), re.MULTILINE)
        return 0 if match is None else int(match[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def reset_peak() -> None:
    """Resets the peak where the system allows it; elsewhere the peak is that of the process's whole life."""
    with contextlib.suppress(OSError):
        if _CLEAR_REFS.exists():
            _CLEAR_REFS.write_text(_RESET_PEAK)
