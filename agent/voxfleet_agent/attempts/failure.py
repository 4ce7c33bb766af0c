"""The class of what a stage raised. Pure."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.protocol import AttemptFailure

_MESSAGE_LIMIT = 1024
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def failure_of(error: BaseException) -> AttemptFailure:
    causes = list(_causes(error))
    known = next((cause for cause in causes if isinstance(cause, VoxFleetError)), None)
    if known is not None:
        return AttemptFailure(failure_class=known.failure_class, message=known.message[:_MESSAGE_LIMIT])
    if any(isinstance(cause, OSError) and cause.errno in _FULL for cause in causes):
        return AttemptFailure(
            failure_class=FailureClass.SCRATCH_EXHAUSTED,
            message="this Mac's disk is full or read-only; free space on it, or mount it for writing",
        )
    # Without a class it is this agent's fault, so another Mac may do better.
    name = type(causes[0]).__qualname__
    return AttemptFailure(
        failure_class=FailureClass.RUNTIME_MISMATCH, message=f"the agent met an unforeseen {name}; its log says where"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error itself, or what is in the group of a TaskGroup."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _causes(one)
    else:
        yield error
