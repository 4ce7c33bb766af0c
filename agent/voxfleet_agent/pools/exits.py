"""Why a lane's child ended, told by its exit status and what it last wrote to stderr."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from voxfleet_api.failures import FailureClass

EXIT_LANE_BUSY = 75

# As Metal's driver and MLX print them; evidence collected from public crash reports.
_METAL = (
    ("kIOGPUCommandBufferCallbackErrorInnocentVictim", FailureClass.GPU_ABORT_INNOCENT_VICTIM),
    ("kIOGPUCommandBufferCallbackErrorTimeout", FailureClass.GPU_ABORT_TIMEOUT),
    ("kIOGPUCommandBufferCallbackErrorImpactingInteractivity", FailureClass.GPU_ABORT_TIMEOUT),
    ("kIOGPUCommandBufferCallbackErrorOutOfMemory", FailureClass.GPU_ABORT_OUT_OF_MEMORY),
)
GPU_ABORTS = frozenset(failure_class for _, failure_class in _METAL)


@dataclass(frozen=True, slots=True)
class ChildEnd:
    failure_class: FailureClass
    reason: str


def gpu_abort(text: str) -> FailureClass | None:
    """The class of the last Metal fault that `text` names."""
    found = [(text.rfind(mark), failure_class) for mark, failure_class in _METAL if mark in text]
    return max(found)[1] if found else None


def classify(returncode: int | None, stderr_tail: str) -> ChildEnd:
    """A GpuAbort class where stderr names a Metal fault, else LANE_CRASHED; `returncode` as in asyncio."""
    fault = gpu_abort(stderr_tail)
    if fault is not None:
        return ChildEnd(fault, "the GPU gave up the lane's work")
    if returncode == EXIT_LANE_BUSY:
        return ChildEnd(FailureClass.LANE_CRASHED, "another process holds the lane")
    if returncode is not None and returncode < 0:
        name = signal.Signals(-returncode).name
        hint = ", often for want of memory" if name == "SIGKILL" else ""
        return ChildEnd(FailureClass.LANE_CRASHED, f"the lane's process was ended by {name}{hint}")
    return ChildEnd(FailureClass.LANE_CRASHED, f"the lane's process ended with status {returncode}")
