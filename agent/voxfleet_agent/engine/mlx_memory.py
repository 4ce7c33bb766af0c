"""MLX's memory in this process."""

from __future__ import annotations

import mlx.core as mx

from voxfleet_agent.process_memory import footprint_bytes as footprint_bytes  # all of a lane's memory in one place


def set_cache_limit(limit_bytes: int) -> None:
    """Most memory that MLX keeps for reuse; it frees what lies beyond."""
    mx.set_cache_limit(limit_bytes)


def clear_cache() -> None:
    """Gives back what MLX keeps for reuse; called between batches, so that shapes seen once leave nothing behind."""
    mx.clear_cache()


def metal_peak_bytes() -> int | None:
    """The most that MLX held on the GPU since `reset_metal_peak`; None without Metal."""
    return int(mx.get_peak_memory()) if mx.metal.is_available() else None


def reset_metal_peak() -> None:
    mx.reset_peak_memory()


def count_parameters(parameters: object) -> int:
    """Numbers in a model's tree of weights; quantized ones count as stored."""
    if isinstance(parameters, dict):
        return sum(count_parameters(part) for part in parameters.values())
    if isinstance(parameters, list | tuple):
        return sum(count_parameters(part) for part in parameters)
    return int(parameters.size) if isinstance(parameters, mx.array) else 0
