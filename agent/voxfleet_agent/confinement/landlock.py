"""Landlock: a process gives up all files but those below named folders, for itself and all that it starts.

Needs no root. landlock(7); the bits are those of linux/landlock.h. A process in Landlock can also not trace one
outside, which closes /proc/<pid>/mem, environ, fd and maps of its parent (Documentation/userspace-api/landlock.rst).
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

from voxfleet_agent.confinement import linux_syscalls

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_AND_MAKE = (1 << 13) - (1 << 4)
_REFER, _TRUNCATE, _DEVICE_IOCTL = 1 << 13, 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _DEVICE_IOCTL
_TCP_BIND_AND_CONNECT = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11

READ = _EXECUTE | _READ_FILE | _READ_DIR
READ_DATA = _READ_FILE | _READ_DIR
WRITE = READ_DATA | _WRITE_FILE | _TRUNCATE | _REMOVE_AND_MAKE | _REFER


def restrict(rules: Iterable[tuple[str, int]]) -> None:
    """Allows this thread, and what it executes, only these (path, rights). Paths that cannot be opened are left out.

    What a newer kernel can also refuse is refused: TCP, abstract sockets, and signals to processes outside. Raises
    OSError where the kernel has no Landlock, and, with the path as its filename, for one that no rule can name.
    """
    version = linux_syscalls.call(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    handled = _handled(version)
    ruleset = _create(version, handled)
    try:
        for path, rights in rules:
            _allow(ruleset, path, rights & handled)
        linux_syscalls.call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _handled(version: int) -> int:
    handled = READ | _WRITE_FILE | _REMOVE_AND_MAKE
    if version >= 2:
        handled |= _REFER
    if version >= 3:
        handled |= _TRUNCATE
    if version >= 5:
        handled |= _DEVICE_IOCTL
    return handled


def _create(version: int, handled: int) -> int:
    words = [handled]
    if version >= 4:
        words.append(_TCP_BIND_AND_CONNECT)
    if version >= 6:
        words.append(_ABSTRACT_SOCKETS_AND_SIGNALS)
    attributes = ctypes.create_string_buffer(struct.pack(f"{len(words)}Q", *words))
    return linux_syscalls.call(_CREATE_RULESET, ctypes.addressof(attributes), 8 * len(words), 0)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # missing, closed to this account, or on a mount that is dead: the lane meets the same error there
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, descriptor))
        linux_syscalls.call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.addressof(rule), 0)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(descriptor)
