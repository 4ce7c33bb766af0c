"""Is the Mac's memory short, so that it compresses, swaps or kills?"""

from __future__ import annotations

import ctypes
import sys

import psutil

PRESSURE_LEVEL = b"kern.memorystatus_vm_pressure_level"
"""macOS's own verdict: 1 normal, 2 warning, 4 critical."""
CRITICAL = 4
LEAST_AVAILABLE_PERCENT = 4
"""Elsewhere: what is left without swapping."""


def memory_is_short() -> bool:
    """False where the system does not tell."""
    if sys.platform == "darwin":
        return _pressure_level() >= CRITICAL
    memory = psutil.virtual_memory()
    return bool(memory.available * 100 < memory.total * LEAST_AVAILABLE_PERCENT)


def _pressure_level() -> int:
    level = ctypes.c_int(0)
    size = ctypes.c_size_t(ctypes.sizeof(level))
    library = ctypes.CDLL("/usr/lib/libSystem.B.dylib")
    status: int = library.sysctlbyname(PRESSURE_LEVEL, ctypes.byref(level), ctypes.byref(size), None, 0)
    return level.value if status == 0 else 0
