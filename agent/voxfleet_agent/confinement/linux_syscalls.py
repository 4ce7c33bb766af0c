"""System calls that Python has no function for. Linux only; the standard library alone, as the launcher has no more."""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38


def call(number: int, *arguments: int | None) -> int:
    """Returns the call's result. Raises OSError. Pointers are given as addresses."""
    words = [ctypes.c_void_p(argument) for argument in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *words))
    if result < 0:
        number_of_error = ctypes.get_errno()
        raise OSError(number_of_error, os.strerror(number_of_error))
    return result


def unshare(flags: int) -> None:
    """Raises OSError."""
    _checked(int(_libc.unshare(ctypes.c_int(flags))))


def forbid_new_privileges() -> None:
    """No program that this process starts gets rights from a set-user-id bit. Raises OSError."""
    _checked(_prctl(_PR_SET_NO_NEW_PRIVS, 1))


def drop_capabilities(kept: int) -> None:
    """What root executes from here on has at most one capability; an account without rights has none anyway."""
    for capability in range(64):
        if capability != kept and _prctl(_PR_CAPBSET_DROP, capability) < 0:
            return  # the kernel knows no more of them, or this account has no right to drop any


def _prctl(option: int, value: int) -> int:
    return int(_libc.prctl(ctypes.c_int(option), *(ctypes.c_ulong(word) for word in (value, 0, 0, 0))))


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
