"""The class of what a stage raised. Pure."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator

from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.protocol import AttemptFailure

_MESSAGE_LIMIT = 1024
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
_DISK_CODES = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR)


def failure_of(error: BaseException) -> AttemptFailure:
    causes = list(_causes(error))
    known = next((cause for cause in causes if isinstance(cause, VoxFleetError)), None)
    if known is not None:
        return AttemptFailure(failure_class=known.failure_class, message=known.message[:_MESSAGE_LIMIT])
    if any(_of_the_disk(cause) for cause in causes):
        return AttemptFailure(
            failure_class=FailureClass.SCRATCH_EXHAUSTED,
            message="this Mac's disk is full, read-only or broken; free space, mount it for writing or replace it",
        )
    # Without a class it is this agent's fault, so another Mac may do better.
    name = type(causes[0]).__qualname__
    return AttemptFailure(
        failure_class=FailureClass.RUNTIME_MISMATCH, message=f"the agent met an unforeseen {name}; its log says where"
    )


def _of_the_disk(error: BaseException) -> bool:
    if isinstance(error, sqlite3.OperationalError):
        # What Python raises by itself has no code; of an extended one the rest is its detail.
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DISK_CODES
    return isinstance(error, OSError) and error.errno in _DISK_ERRORS


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error itself, or what is in the group of a TaskGroup."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _causes(one)
    else:
        yield error
