"""How Metal, MLX and C++ word a GPU fault or a lack of memory. Pure: no MLX."""

from __future__ import annotations

from voxfleet_api.failures import FailureClass

# As Metal's driver and MLX print them; evidence collected from public crash reports.
_METAL = (
    ("kIOGPUCommandBufferCallbackErrorInnocentVictim", FailureClass.GPU_ABORT_INNOCENT_VICTIM),
    ("kIOGPUCommandBufferCallbackErrorTimeout", FailureClass.GPU_ABORT_TIMEOUT),
    ("kIOGPUCommandBufferCallbackErrorImpactingInteractivity", FailureClass.GPU_ABORT_TIMEOUT),
    ("kIOGPUCommandBufferCallbackErrorOutOfMemory", FailureClass.GPU_ABORT_OUT_OF_MEMORY),
)
GPU_ABORTS = frozenset(failure_class for _, failure_class in _METAL)

_OUT_OF_MEMORY = ("Unable to allocate", "Attempting to allocate", "bad_alloc")
"""As MLX, Metal and C++ say that they could not have the memory that they asked for."""


def gpu_abort(text: str) -> FailureClass | None:
    """The class of the last Metal fault that `text` names."""
    found = [(text.rfind(mark), failure_class) for mark, failure_class in _METAL if mark in text]
    return max(found)[1] if found else None


def names_want_of_memory(text: str) -> bool:
    return any(mark in text for mark in _OUT_OF_MEMORY)
