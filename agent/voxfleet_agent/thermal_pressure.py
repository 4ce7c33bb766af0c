"""Does macOS slow this Mac down because it is hot?

The system publishes its thermal pressure as a notification whose state anybody may read (`OSThermalNotification.h`).
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

NAME = b"com.apple.system.thermalpressurelevel"
NOMINAL = 0
STATUS_OK = 0


def under_thermal_pressure() -> bool:
    """False also where the system does not tell, as on Linux."""
    if sys.platform == "darwin":
        return _pressure_level() > NOMINAL
    return False


@cache
def _token() -> tuple[ctypes.CDLL, ctypes.c_int] | None:
    """The registration, which costs nothing while it lasts; None: the system has none of this name."""
    library = ctypes.CDLL("/usr/lib/libSystem.B.dylib")
    token = ctypes.c_int()
    status: int = library.notify_register_check(NAME, ctypes.byref(token))
    return (library, token) if status == STATUS_OK else None


def _pressure_level() -> int:
    registered = _token()
    if registered is None:
        return NOMINAL
    library, token = registered
    level = ctypes.c_uint64()
    status: int = library.notify_get_state(token, ctypes.byref(level))
    return level.value if status == STATUS_OK else NOMINAL
