"""System calls that Python has no function for. Linux only; the standard library alone, as the launcher has no more."""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITIES_OF_64_BITS = 0x20080522
"""_LINUX_CAPABILITY_VERSION_3 of linux/capability.h."""


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
    """This process and what it executes have at most the capability `kept`, below 32, and only if it had it before.

    The bounding set limits what root gets anew when it executes a program; the process's own sets hold what an account
    without root's number was given, as systemd does. Raises OSError when a right is left that cannot be dropped; the
    others are gone then, as far as this account may drop them.
    """
    for capability in range(64):
        if capability != kept and _prctl(_PR_CAPBSET_DROP, capability) < 0:
            break  # the kernel knows no more of them, or this account has no right to drop any
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_OF_64_BITS, 0)
    effective_permitted_inheritable = (ctypes.c_uint32 * 6)()
    _checked(int(_libc.capget(header, effective_permitted_inheritable)))
    left = effective_permitted_inheritable[1] & (1 << kept)
    wanted = (ctypes.c_uint32 * 6)(left, left, 0, 0, 0, 0)
    if [*effective_permitted_inheritable] != [*wanted]:  # services may be forbidden to ask (SystemCallFilter=)
        _checked(int(_libc.capset(header, wanted)))


def _prctl(option: int, value: int) -> int:
    return int(_libc.prctl(ctypes.c_int(option), *(ctypes.c_ulong(word) for word in (value, 0, 0, 0))))


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
