"""How a lane's memory cap is divided between MLX and everything else in its process. Pure."""

from __future__ import annotations

from dataclasses import dataclass

CACHE_PERCENT = 25
"""Share of the cap that MLX may at most keep for reuse. Each new length of audio leaves buffers of its own sizes."""
_LEAST_MLX_PERCENT = 50
"""MLX gets at least this share of the cap: the limit only makes it give back its cache and wait for running work, and
the memory guard watches the cap itself."""


@dataclass(frozen=True, slots=True)
class MlxLimits:
    memory_bytes: int
    """What MLX may take, its cache included; also what it may wire."""
    cache_bytes: int
    """What MLX may keep for reuse."""


def mlx_limits(cap_bytes: int, other_bytes: int, free_bytes: int | None = None) -> MlxLimits:
    """The limits of one lane.

    `other_bytes`: what the process takes besides MLX: the interpreter, the ring, decoding. `free_bytes`: what the cap
    leaves beside everything that the lane needs, its model included; None: not known before the model is loaded.
    """
    memory_bytes = max(cap_bytes - other_bytes, cap_bytes * _LEAST_MLX_PERCENT // 100)
    cache_bytes = cap_bytes * CACHE_PERCENT // 100
    if free_bytes is not None:
        cache_bytes = min(cache_bytes, max(0, free_bytes))
    return MlxLimits(memory_bytes, cache_bytes)
