"""MLX's memory in this process."""

from __future__ import annotations

import mlx.core as mx

from voxfleet_agent.engine.mlx_limits import MlxLimits
from voxfleet_agent.process_memory import footprint_bytes as footprint_bytes  # one module for all of a lane's memory


def set_limits(limits: MlxLimits) -> None:
    """Tells MLX how much it may take, keep for reuse, and wire. Returns at once; MLX obeys from the next allocation.

    Memory is wired only with Metal, and never more than the device recommends: MLX treats more as an error.
    """
    mx.set_memory_limit(limits.memory_bytes)
    mx.set_cache_limit(limits.cache_bytes)
    recommended_bytes = recommended_working_set_bytes()
    if recommended_bytes is not None:
        mx.set_wired_limit(min(limits.memory_bytes, recommended_bytes))


def recommended_working_set_bytes() -> int | None:
    """The most memory that the GPU may wire, for all processes together; None without Metal."""
    if not mx.metal.is_available():
        return None
    return int(mx.device_info()["max_recommended_working_set_size"])


def cached_bytes() -> int:
    """The memory that MLX keeps for reuse. It is part of the footprint, and given back when something needs it."""
    return int(mx.get_cache_memory())


def clear_cache() -> None:
    """Frees the memory that MLX keeps for reuse."""
    mx.clear_cache()


def work_bytes() -> int:
    """The most that MLX took since `reset_metal_peak`, beyond what it holds now; of any device."""
    return max(0, int(mx.get_peak_memory()) - int(mx.get_active_memory()))


def metal_peak_bytes() -> int | None:
    """MLX's peak GPU memory in bytes since `reset_metal_peak`; None without Metal."""
    return int(mx.get_peak_memory()) if mx.metal.is_available() else None


def reset_metal_peak() -> None:
    mx.reset_peak_memory()


def count_parameters(parameters: object) -> int:
    """The number of values in a model's tree of weights; quantized ones count as stored."""
    if isinstance(parameters, dict):
        return sum(count_parameters(part) for part in parameters.values())
    if isinstance(parameters, list | tuple):
        return sum(count_parameters(part) for part in parameters)
    return int(parameters.size) if isinstance(parameters, mx.array) else 0
