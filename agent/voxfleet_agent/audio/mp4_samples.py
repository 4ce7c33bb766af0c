"""Where the samples of an MPEG-4 track lie: the tables stsz, stsc, stco and co64 (ISO/IEC 14496-12, 8.7)."""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from itertools import accumulate

from voxfleet_agent.audio.mp4_boxes import find

_MAX_CHUNKS = 1_000_000
_MAX_SAMPLES = 8_000_000


@dataclass(frozen=True, slots=True)
class SampleTable:
    """Chunks of samples that lie one behind the other."""

    sample_ends: array[int]
    """The bytes of all samples up to and with each one."""
    chunks: tuple[tuple[int, int, int], ...]
    """(offset in the file, first sample, number of samples) of each chunk."""

    def extents(self) -> list[tuple[int, int]]:
        """The (offset, length) of each chunk."""
        return [(offset, self._bytes(first, count)) for offset, first, count in self.chunks]

    def whole_samples(self, size_bytes: int) -> tuple[int, int]:
        """How many samples come ahead of the first that a file of `size_bytes` ends inside of, and where they end."""
        end_bytes = 0
        for offset, first, count in self.chunks:
            if offset + self._bytes(first, count) > size_bytes:
                whole = sum(1 for number in range(1, count + 1) if offset + self._bytes(first, number) <= size_bytes)
                return first + whole, offset + self._bytes(first, whole) if whole else end_bytes
            end_bytes = max(end_bytes, offset + self._bytes(first, count))
        return len(self.sample_ends), end_bytes

    def _bytes(self, first: int, count: int) -> int:
        if count == 0:
            return 0
        return self.sample_ends[first + count - 1] - (self.sample_ends[first - 1] if first else 0)


def sample_table(table: memoryview) -> SampleTable | None:
    """Reads an stbl box; None when its tables contradict each other or are larger than any recording's."""
    ends = _sample_ends(table)
    offsets = _chunk_offsets(table)
    runs = _runs(find(table, b"stsc"))
    if ends is None or offsets is None or runs is None:
        return None
    chunks = []
    sample = 0
    for number, (first_chunk, samples) in enumerate(runs):
        next_chunk = runs[number + 1][0] if number + 1 < len(runs) else len(offsets) + 1
        for chunk in range(first_chunk, min(next_chunk, len(offsets) + 1)):
            if sample + samples > len(ends):
                return None
            chunks.append((offsets[chunk - 1], sample, samples))
            sample += samples
    return SampleTable(ends, tuple(chunks)) if sample == len(ends) else None


def sample_count(table: memoryview) -> int:
    """The number of samples that a table of sizes (stsz) announces; it need not have a row for each."""
    sizes = find(table, b"stsz")
    return 0 if sizes is None or len(sizes) < 12 else int.from_bytes(sizes[8:12], "big")


def _sample_ends(table: memoryview) -> array[int] | None:
    sizes = find(table, b"stsz")
    if sizes is None or len(sizes) < 12:
        return None
    fixed_bytes, count = struct.unpack_from(">II", sizes, 4)
    if count > _MAX_SAMPLES:
        return None
    if fixed_bytes:
        return array("Q", range(fixed_bytes, fixed_bytes * (count + 1), fixed_bytes))
    if len(sizes) < 12 + 4 * count:
        return None
    return array("Q", accumulate(struct.unpack_from(f">{count}I", sizes, 12)))


def _chunk_offsets(table: memoryview) -> tuple[int, ...] | None:
    for name, code, width in ((b"stco", "I", 4), (b"co64", "Q", 8)):
        box = find(table, name)
        if box is not None and len(box) >= 8:
            count = int.from_bytes(box[4:8], "big")
            if count > _MAX_CHUNKS or len(box) < 8 + width * count:
                return None
            return struct.unpack_from(f">{count}{code}", box, 8)
    return None


def _runs(box: memoryview | None) -> list[tuple[int, int]] | None:
    """(first chunk from 1 on, samples a chunk) of each run of like chunks."""
    if box is None or len(box) < 8:
        return None
    count = int.from_bytes(box[4:8], "big")
    if len(box) < 8 + 12 * count:
        return None
    runs = [struct.unpack_from(">II", box, 8 + 12 * number) for number in range(count)]
    in_order = all(1 <= runs[number][0] < runs[number + 1][0] for number in range(count - 1))
    return runs if in_order and (not runs or runs[0][0] == 1) else None
