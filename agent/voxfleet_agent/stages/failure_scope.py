"""How far a failure reaches: this clip alone, the whole attempt, or unclear."""

from __future__ import annotations

from enum import Enum, auto

from voxfleet_api.failures import FailureClass


class FailureScope(Enum):
    CLIP = auto()
    ATTEMPT = auto()
    UNCLEAR = auto()
    """Tells whether other objects can be had."""


SCOPE_OF: dict[FailureClass, FailureScope] = {
    FailureClass.CHECKSUM_MISMATCH: FailureScope.CLIP,
    FailureClass.UNSUPPORTED_CONTAINER: FailureScope.CLIP,
    FailureClass.CONTRACT_VIOLATION: FailureScope.CLIP,
    FailureClass.DECODE_ERROR: FailureScope.CLIP,
    FailureClass.INPUT_CHANGED: FailureScope.CLIP,
    FailureClass.INFERENCE_ERROR: FailureScope.CLIP,
    FailureClass.LANE_CRASHED: FailureScope.CLIP,
    FailureClass.MEMORY_EXCEEDED: FailureScope.CLIP,
    FailureClass.TRUNCATED_OUTPUT: FailureScope.CLIP,
    FailureClass.INPUT_NOT_FOUND: FailureScope.CLIP,
    FailureClass.ACCESS_DENIED: FailureScope.UNCLEAR,
    FailureClass.TRANSPORT: FailureScope.UNCLEAR,
    FailureClass.THROTTLED: FailureScope.UNCLEAR,
    FailureClass.MACHINE_LOST: FailureScope.ATTEMPT,
    FailureClass.RUNTIME_MISMATCH: FailureScope.ATTEMPT,
    FailureClass.SCRATCH_EXHAUSTED: FailureScope.ATTEMPT,
    FailureClass.GPU_ABORT_OUT_OF_MEMORY: FailureScope.ATTEMPT,
    FailureClass.GPU_ABORT_TIMEOUT: FailureScope.ATTEMPT,
    FailureClass.GPU_ABORT_INNOCENT_VICTIM: FailureScope.ATTEMPT,
    FailureClass.INVALID_INPUT: FailureScope.CLIP,
    FailureClass.MODEL_UNAVAILABLE: FailureScope.ATTEMPT,
    FailureClass.MODEL_MISMATCH: FailureScope.ATTEMPT,
    FailureClass.FAILURE_BUDGET_EXHAUSTED: FailureScope.ATTEMPT,
    FailureClass.PLAN_MISMATCH: FailureScope.ATTEMPT,
    FailureClass.INPUT_NOT_SHARED: FailureScope.ATTEMPT,
    FailureClass.OUTPUT_NOT_SHARED: FailureScope.ATTEMPT,
    FailureClass.NONDETERMINISTIC_REPLAY: FailureScope.CLIP,
}
"""Of a failure to read a clip. An odd answer (InvalidInput: HTTP 400, no length, compressed) is about one object."""
