"""What the lane answers when its model cannot be loaded, or a file cannot be opened. Pure."""

from __future__ import annotations

import errno

from voxfleet_agent.engine.speech_packages import install_command
from voxfleet_agent.lane_protocol.failure_marks import names_lack_of_memory
from voxfleet_agent.lane_protocol.messages import Load, WorkerRefusal
from voxfleet_api.failures import FailureClass

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
DENIALS = (errno.EACCES, errno.EPERM)
MESSAGE_CHARACTERS = 1024


def file_refusal(error: OSError) -> WorkerRefusal:
    """The answer when a file of the lane or of a clip cannot be used: no clip is at fault."""
    if error.errno in DISK_ERRORS:
        return WorkerRefusal(
            failure_class=FailureClass.SCRATCH_EXHAUSTED,
            message=f"the lane cannot use its scratch: {error.strerror}; check the disk and its free space",
        )
    what = "check that laneUser may reach scratch.path" if error.errno in DENIALS else "look at the agent's log"
    return WorkerRefusal(
        failure_class=FailureClass.RUNTIME_MISMATCH,
        message=f"the lane cannot open a file that the agent gave it: {error.strerror or type(error).__name__}; {what}",
    )


def load_refusal(error: Exception, request: Load) -> WorkerRefusal:
    """The answer when a model's code raised `error` as it was loaded."""
    if isinstance(error, MemoryError) or names_lack_of_memory(str(error)):
        return WorkerRefusal(
            failure_class=FailureClass.MEMORY_EXCEEDED,
            message=f"there is no memory to load the model in {request.folder}: the lane may take"
            f" {request.memory_cap_bytes >> 20} MiB; use a smaller model, or raise batching.memoryCap and the pool's"
            " memoryCap",
        )
    if isinstance(error, OSError) and error.errno in DISK_ERRORS + DENIALS:
        return WorkerRefusal(
            failure_class=FailureClass.MODEL_UNAVAILABLE,
            message=f"the model in {request.folder} cannot be read by the lane: {error.strerror}; check the disk, and"
            " that laneUser may read the folder",
        )
    said = f"its code raised {type(error).__name__}: {' '.join(str(error).split())}"
    package = missing_package(error)
    if package is None:
        message = f"the model in {request.folder} cannot be loaded, {said}"
    else:
        message = (
            f"the model in {request.folder} needs the Python package {package}, which is not installed; run:"
            f" {install_command(package)} ({said})"
        )
    return WorkerRefusal(failure_class=FailureClass.MODEL_UNAVAILABLE, message=message[:MESSAGE_CHARACTERS])


def missing_package(error: BaseException) -> str | None:
    """The package whose absence `error` tells of, perhaps in words of the model's own code; None: another reason.

    An error that was merely raised while a missing package was handled, such as that of its substitute, is another
    reason.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModuleNotFoundError) and cause.name is not None:
            return cause.name.partition(".")[0]
        cause = cause.__cause__ or (cause.__context__ if isinstance(cause, ImportError) else None)
    return None
