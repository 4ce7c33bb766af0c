"""Which pieces of audio go through the model together. Pure."""

from __future__ import annotations

from collections.abc import Sequence

MAX_STRETCH = 2
"""The longest piece of a group has at most so many times the frames of the shortest: the rest would be padding."""


def groups(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Positions in `lengths`, shortest first, in groups of at most `size` of similar length."""
    result: list[list[int]] = []
    for position in sorted(range(len(lengths)), key=lambda position: (lengths[position], position)):
        group = result[-1] if result else None
        if group is None or len(group) >= size or lengths[position] > MAX_STRETCH * lengths[group[0]]:
            result.append([position])
        else:
            group.append(position)
    return result
