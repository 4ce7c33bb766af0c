"""The closed failure taxonomy: every failure in status, rows, metrics and logs has one of these classes.

The classes follow failures of peer systems and MLX issue threads; see docs/reference/failures.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FailureClass(StrEnum):
    # A clip's own data. Never retried: the same bytes fail the same way.
    CHECKSUM_MISMATCH = "ChecksumMismatch"
    UNSUPPORTED_CONTAINER = "UnsupportedContainer"
    CONTRACT_VIOLATION = "ContractViolation"
    DECODE_ERROR = "DecodeError"
    INPUT_CHANGED = "InputChanged"
    INFERENCE_ERROR = "InferenceError"
    LANE_CRASHED = "LaneCrashed"
    MEMORY_EXCEEDED = "MemoryExceeded"
    TRUNCATED_OUTPUT = "TruncatedOutput"
    UNSPOKEN_TEXT = "UnspokenText"
    # Reading or writing one object.
    INPUT_NOT_FOUND = "InputNotFound"
    ACCESS_DENIED = "AccessDenied"
    TRANSPORT = "Transport"
    THROTTLED = "Throttled"
    # The Mac. The attempt runs again, on another Mac if there is one.
    MACHINE_LOST = "MachineLost"
    MACHINE_RETURNED = "MachineReturned"
    RUNTIME_MISMATCH = "RuntimeMismatch"
    SCRATCH_EXHAUSTED = "ScratchExhausted"
    GPU_ABORT_OUT_OF_MEMORY = "GpuAbortOutOfMemory"
    GPU_ABORT_TIMEOUT = "GpuAbortTimeout"
    GPU_ABORT_INNOCENT_VICTIM = "GpuAbortInnocentVictim"
    # The job itself. Running it again changes nothing.
    INVALID_INPUT = "InvalidInput"
    MODEL_UNAVAILABLE = "ModelUnavailable"
    MODEL_MISMATCH = "ModelMismatch"
    FAILURE_BUDGET_EXHAUSTED = "FailureBudgetExhausted"
    PLAN_MISMATCH = "PlanMismatch"
    INPUT_NOT_SHARED = "InputNotShared"
    OUTPUT_NOT_SHARED = "OutputNotShared"
    # A clip of a finished run that ran again. No job has this class: it means that two runs cannot both be right.
    NONDETERMINISTIC_REPLAY = "NondeterministicReplay"


class Remedy(StrEnum):
    """What can make a failed operation succeed."""

    NOTHING = "Nothing"  # the clip is quarantined, or the job fails
    RETRY = "Retry"  # the same call may succeed later
    OTHER_MAC = "OtherMac"  # another attempt, not on this Mac if there is another


@dataclass(frozen=True, slots=True)
class FailureRule:
    remedy: Remedy
    quarantines: bool
    """Whether a clip with this class is quarantined; otherwise it counts as failed."""


_DATA = FailureRule(Remedy.NOTHING, quarantines=True)
_OBJECT = FailureRule(Remedy.NOTHING, quarantines=False)
_WAIT = FailureRule(Remedy.RETRY, quarantines=False)
_MACHINE = FailureRule(Remedy.OTHER_MAC, quarantines=False)

RULES: dict[FailureClass, FailureRule] = {
    FailureClass.CHECKSUM_MISMATCH: _DATA,
    FailureClass.UNSUPPORTED_CONTAINER: _DATA,
    FailureClass.CONTRACT_VIOLATION: _DATA,
    FailureClass.DECODE_ERROR: _DATA,
    FailureClass.INPUT_CHANGED: _DATA,
    FailureClass.INFERENCE_ERROR: _DATA,
    FailureClass.LANE_CRASHED: _DATA,
    FailureClass.MEMORY_EXCEEDED: _DATA,
    FailureClass.TRUNCATED_OUTPUT: _DATA,
    FailureClass.UNSPOKEN_TEXT: _DATA,
    FailureClass.INPUT_NOT_FOUND: _OBJECT,
    FailureClass.ACCESS_DENIED: _OBJECT,
    FailureClass.TRANSPORT: _WAIT,
    FailureClass.THROTTLED: _WAIT,
    FailureClass.MACHINE_LOST: _MACHINE,
    FailureClass.MACHINE_RETURNED: _MACHINE,
    FailureClass.RUNTIME_MISMATCH: _MACHINE,
    FailureClass.SCRATCH_EXHAUSTED: _MACHINE,
    FailureClass.GPU_ABORT_OUT_OF_MEMORY: _MACHINE,
    FailureClass.GPU_ABORT_TIMEOUT: _MACHINE,
    FailureClass.GPU_ABORT_INNOCENT_VICTIM: _MACHINE,
    FailureClass.INVALID_INPUT: _OBJECT,
    FailureClass.MODEL_UNAVAILABLE: _OBJECT,
    FailureClass.MODEL_MISMATCH: _OBJECT,
    FailureClass.FAILURE_BUDGET_EXHAUSTED: _OBJECT,
    FailureClass.PLAN_MISMATCH: _OBJECT,
    FailureClass.INPUT_NOT_SHARED: _OBJECT,
    FailureClass.OUTPUT_NOT_SHARED: _OBJECT,
    FailureClass.NONDETERMINISTIC_REPLAY: _OBJECT,
}


def rule_of(failure_class: str) -> FailureRule:
    """Returns the rule of a class; of one that only a newer agent knows: another Mac may fare better."""
    return RULES[FailureClass(failure_class)] if failure_class in set(FailureClass) else _MACHINE


class VoxFleetError(Exception):
    """An error with a class of the taxonomy and a message that says what to do.

    The message holds no transcript, no secret and no clip's file name: it reaches status and logs.
    """

    def __init__(self, failure_class: FailureClass, message: str, *, retry_after_seconds: float | None = None) -> None:
        """`retry_after_seconds`: how long the other side asks to wait."""
        super().__init__(message)
        self.failure_class = failure_class
        self.message = message
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        return f"{self.failure_class}: {self.message}"
