"""The type of number that a model computes in: chosen by device. Pure: no MLX."""

from __future__ import annotations

FLOAT16 = "float16"
FLOAT32 = "float32"
OWN = "the model's own"
PACKED_FAMILIES = frozenset({"phonon", "phonon2"})
"""Families whose kernels read packed weights with scales of one fixed type."""


def dtype_rule(*, metal: bool) -> str:
    """What models compute in on a device.

    MLX's CPU backend computes in float16 and bfloat16 about ten times slower than in float32, with equal texts (an
    11 s clip through Whisper tiny: 32.6 s against 3.4 s). Metal is fast in each, so a model keeps its own.
    """
    return OWN if metal else FLOAT32


def keeps_own_dtype(family: str, rule: str) -> bool:
    return rule == OWN or family in PACKED_FAMILIES
