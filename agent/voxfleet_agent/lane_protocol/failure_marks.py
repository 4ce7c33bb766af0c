"""How Metal, MLX and C++ word a GPU fault or a lack of memory. Pure: no MLX."""

from __future__ import annotations

from voxfleet_api.failures import FailureClass

# The names that Metal's driver and MLX print, collected from public crash reports.
_METAL = (
    ("kIOGPUCommandBufferCallbackErrorInnocentVictim", FailureClass.GPU_ABORT_INNOCENT_VICTIM),
    ("kIOGPUCommandBufferCallbackErrorTimeout", FailureClass.GPU_ABORT_TIMEOUT),
    ("kIOGPUCommandBufferCallbackErrorImpactingInteractivity", FailureClass.GPU_ABORT_TIMEOUT),
    ("kIOGPUCommandBufferCallbackErrorOutOfMemory", FailureClass.GPU_ABORT_OUT_OF_MEMORY),
)

_OUT_OF_MEMORY = ("Unable to allocate", "Attempting to allocate", "bad_alloc")
"""How MLX, Metal and C++ report that an allocation failed."""


def gpu_abort(text: str) -> FailureClass | None:
    """Returns the class of the last Metal fault that `text` names; None when it names none."""
    faults = [(text.rfind(mark), failure_class) for mark, failure_class in _METAL if mark in text]
    return max(faults)[1] if faults else None


def names_lack_of_memory(text: str) -> bool:
    return any(mark in text for mark in _OUT_OF_MEMORY)
