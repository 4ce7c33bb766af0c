"""MLX's memory in this process."""

from __future__ import annotations

import mlx.core as mx

from voxfleet_agent.process_memory import footprint_bytes as footprint_bytes  # one module for all of a lane's memory


def set_cache_limit(limit_bytes: int) -> None:
    """Limits the memory that MLX caches for reuse; it frees the rest."""
    mx.set_cache_limit(limit_bytes)


def clear_cache() -> None:
    """Frees the memory that MLX caches for reuse. Called between batches, so that rare shapes leave nothing behind."""
    mx.clear_cache()


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
