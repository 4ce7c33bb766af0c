"""Which failure class an error of this Mac's own disk means. Pure."""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from voxfleet_agent.access_advice import denial
from voxfleet_api.failures import FailureClass, VoxFleetError

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_DENIED = frozenset({errno.EACCES, errno.EPERM})
_DISK_ERRORS = _NO_ROOM | {errno.EIO}
_DISK_CODES = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR)


@contextmanager
def scratch_errors() -> Iterator[None]:
    """Turns an OSError of scratch into a VoxFleetError with which another Mac may do better."""
    try:
        yield
    except OSError as error:
        raise scratch_error(error) from None  # the cause would quote the path


def scratch_error(error: OSError) -> VoxFleetError:
    """RUNTIME_MISMATCH when this Mac does not let its agent at its own files; SCRATCH_EXHAUSTED otherwise."""
    if error.errno in _DENIED:
        return VoxFleetError(
            FailureClass.RUNTIME_MISMATCH,
            f"this agent may not use the folder of scratch.path: {denial(error.errno, sys.platform)}",
        )
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    advice = "free its volume or mount it for writing" if error.errno in _NO_ROOM else "look at its volume"
    return VoxFleetError(FailureClass.SCRATCH_EXHAUSTED, f"this Mac's scratch answered: {reason}; {advice}")


def is_disk_error(error: BaseException) -> bool:
    """Whether a disk that is full, read-only or broken raised this."""
    if isinstance(error, sqlite3.OperationalError):
        # Errors that Python itself raises carry no code. The low byte of an extended code is its primary code.
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DISK_CODES
    return isinstance(error, OSError) and error.errno in _DISK_ERRORS
