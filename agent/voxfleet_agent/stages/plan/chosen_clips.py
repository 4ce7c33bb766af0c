"""Chooses some clips of an input by their indexes. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import overload

from voxfleet_agent.stages.plan.input_clip import InputClip, invalid_input
from voxfleet_api.ranges import decode


class ChosenInput(Sequence[InputClip]):
    """The chosen clips in their order. Each knows its index among all of them."""

    def __init__(self, clips: Sequence[InputClip], indexes: Sequence[int]) -> None:
        self._clips = clips
        self._indexes = array("Q", indexes)

    @overload
    def __getitem__(self, index: int) -> InputClip: ...
    @overload
    def __getitem__(self, index: slice) -> ChosenInput: ...

    def __getitem__(self, index: int | slice) -> InputClip | ChosenInput:
        if isinstance(index, slice):
            return ChosenInput(self._clips, self._indexes[index])
        source_index = self._indexes[index]
        return replace(self._clips[source_index], source_index=source_index)

    def __len__(self) -> int:
        return len(self._indexes)


def chosen_indexes(field: str, ranges: str, total: int, of_what: str) -> list[int]:
    """The indexes that a field such as `3,7-9` names.

    Raises VoxFleetError(INVALID_INPUT) naming the field and how many clips there are.
    """
    try:
        indexes = decode(ranges)
    except ValueError as error:
        raise invalid_input(f"{field}: {error}") from error
    if indexes[-1] >= total:
        raise invalid_input(f"{field} names clip {indexes[-1]}, but {of_what} has {total} clips: 0 to {total - 1}")
    return indexes
