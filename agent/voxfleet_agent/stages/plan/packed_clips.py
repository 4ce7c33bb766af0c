"""Clips as compact JSON: as objects, 100,000 of them would fill tens of megabytes."""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from typing import overload

from voxfleet_agent.stages.plan.input_clip import InputClip


class PackedClips(Sequence[InputClip]):
    """Each clip is made anew when it is used."""

    def __init__(self) -> None:
        self._content = bytearray()
        self._starts = array("Q", [0])

    def append(self, clip: InputClip) -> None:
        fields = [clip.custom_id, clip.uri, clip.sha256, clip.text, clip.problem, clip.etag, clip.source_index]
        while fields[-1] is None:
            fields.pop()
        self._content += json.dumps(fields).encode()
        self._starts.append(len(self._content))

    @overload
    def __getitem__(self, index: int) -> InputClip: ...
    @overload
    def __getitem__(self, index: slice) -> list[InputClip]: ...

    def __getitem__(self, index: int | slice) -> InputClip | list[InputClip]:
        if isinstance(index, slice):
            return [self._clip(position) for position in range(*index.indices(len(self)))]
        return self._clip(range(len(self))[index])

    def __len__(self) -> int:
        return len(self._starts) - 1

    def _clip(self, position: int) -> InputClip:
        return InputClip(*json.loads(self._content[self._starts[position] : self._starts[position + 1]]))
