"""The memory of a process, now and at its peak. Does not import MLX."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import errno
import os
import re
import resource
import sys
from pathlib import Path

import psutil

_RUSAGE_INFO_V4 = 4
_V0_FIELDS = """
    user_time system_time pkg_idle_wkups interrupt_wkups pageins wired_size resident_size phys_footprint
    proc_start_abstime proc_exit_abstime
"""
_V1_FIELDS = """
    child_user_time child_system_time child_pkg_idle_wkups child_interrupt_wkups child_pageins child_elapsed_abstime
"""
_V2_FIELDS = "diskio_bytesread diskio_byteswritten"
_V3_FIELDS = """
    cpu_time_qos_default cpu_time_qos_maintenance cpu_time_qos_background cpu_time_qos_utility cpu_time_qos_legacy
    cpu_time_qos_user_initiated cpu_time_qos_user_interactive billed_system_time serviced_system_time
"""
_V4_FIELDS = """
    logical_writes lifetime_max_phys_footprint instructions cycles billed_energy serviced_energy
    interval_max_phys_footprint runnable_time
"""
_COUNTERS = f"{_V0_FIELDS} {_V1_FIELDS} {_V2_FIELDS} {_V3_FIELDS} {_V4_FIELDS}"


class RusageInfoV4(ctypes.Structure):
    """`struct rusage_info_v4` of macOS's sys/resource.h (bsd/sys/resource.h of Apple's xnu), in its order."""

    _fields_ = (("uuid", ctypes.c_uint8 * 16), *((name, ctypes.c_uint64) for name in _COUNTERS.split()))


def footprint_bytes(pid: int | None = None) -> int:
    """The memory that the system charges to a process, by default to this one.

    It is the physical footprint on macOS, which counts Metal's buffers and compressed pages, and elsewhere the resident
    set. Raises psutil.NoSuchProcess, and psutil.AccessDenied for a process that this account may not look at.
    """
    pid = os.getpid() if pid is None else pid
    return int(_rusage(pid).phys_footprint) if sys.platform == "darwin" else int(psutil.Process(pid).memory_info().rss)


def _rusage(pid: int) -> RusageInfoV4:
    system = ctypes.CDLL(ctypes.util.find_library("proc"), use_errno=True)
    usage = RusageInfoV4()
    if system.proc_pid_rusage(pid, _RUSAGE_INFO_V4, ctypes.byref(usage)) != 0:
        raise _not_measured(pid, ctypes.get_errno())
    return usage


def _not_measured(pid: int, error: int) -> psutil.Error:
    """A process that cannot be looked at still lives, and must not count as gone. `error`: an errno."""
    return psutil.NoSuchProcess(pid) if error == errno.ESRCH else psutil.AccessDenied(pid)


_PROC_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def peak_bytes() -> int:
    """The peak of this process's memory, as `footprint_bytes` counts it.

    On macOS it is the largest physical footprint of the process's whole life; elsewhere the resident set, on Linux
    since `reset_peak`. On Linux, getrusage is not used, because its peak starts at the size of the parent at the fork.
    """
    if sys.platform == "darwin":
        return int(_rusage(os.getpid()).lifetime_max_phys_footprint)
    if _PROC_STATUS.exists():
        match = re.search(r"^VmHWM:\s*(\d+) kB$", _PROC_STATUS.read_text(), re.MULTILINE)
        return 0 if match is None else int(match[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def reset_peak() -> None:
    """Resets the peak where the system allows it; elsewhere the peak is that of the process's whole life."""
    with contextlib.suppress(OSError):
        if _CLEAR_REFS.exists():
            _CLEAR_REFS.write_text(_RESET_PEAK)
