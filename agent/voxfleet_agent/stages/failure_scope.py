"""Whether a failure concerns one clip or the whole attempt."""

from __future__ import annotations

from enum import Enum, auto

from voxfleet_api.failures import FailureClass


class FailureScope(Enum):
    CLIP = auto()
    ATTEMPT = auto()
    UNCLEAR = auto()
    """Depends on whether other objects can be read."""


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
    FailureClass.UNSPOKEN_TEXT: FailureScope.CLIP,
    FailureClass.INPUT_NOT_FOUND: FailureScope.CLIP,
    FailureClass.ACCESS_DENIED: FailureScope.UNCLEAR,
    FailureClass.TRANSPORT: FailureScope.UNCLEAR,
    FailureClass.THROTTLED: FailureScope.UNCLEAR,
    FailureClass.MACHINE_LOST: FailureScope.ATTEMPT,
    FailureClass.MACHINE_RETURNED: FailureScope.ATTEMPT,
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
"""The scope of a failure to read a clip. InvalidInput (HTTP 400, no length, compressed) concerns one object only."""
