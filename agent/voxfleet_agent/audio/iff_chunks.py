"""The chunks of an IFF file, which AIFF and, in the other byte order, RIFF have."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from voxfleet_agent.audio.header_facts import ClipReader
from voxfleet_agent.audio.joined_files import another_file

MAX_CHUNKS = 256


@dataclass(frozen=True, slots=True)
class IffChunks:
    """How one container writes its chunks."""

    byte_order: Literal["little", "big"]
    name: re.Pattern[bytes]
    """What the four bytes of a chunk's name may be."""
    open_ended: Collection[bytes]
    """Names of chunks that may reach beyond the end of the file."""

    def begins_at(self, clip: ClipReader, offset: int) -> bool:
        """Whether a chunk begins at `offset` that ends within the file, or an open-ended one."""
        head = clip.peek(offset, 12)
        if len(head) < 8 or another_file(head) is not None or not self.name.fullmatch(head[:4]):
            return False
        return head[:4] in self.open_ended or offset + 8 + self._length_bytes(head) <= clip.size_bytes

    def reach_the_end(self, clip: ClipReader, offset: int) -> bool:
        """Whether nothing but whole chunks follows: an audio chunk without a length ahead of them is really empty."""
        for _ in range(MAX_CHUNKS):
            if offset >= clip.size_bytes:
                return True
            if not self.begins_at(clip, offset):
                return False
            length_bytes = self._length_bytes(clip.peek(offset, 8))
            offset += 8 + length_bytes + length_bytes % 2
        return True

    def _length_bytes(self, head: bytes) -> int:
        return int.from_bytes(head[4:8], self.byte_order)
