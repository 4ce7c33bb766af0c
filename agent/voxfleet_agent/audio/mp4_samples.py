"""Where the samples of an MPEG-4 track lie: the tables stsz, stsc, stco and co64 (ISO/IEC 14496-12, 8.7)."""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from voxfleet_agent.audio.mp4_boxes import find

_MAX_SAMPLES = 4_000_000


@dataclass(frozen=True, slots=True)
class SampleTable:
    """Chunks of samples that lie one behind the other. A track may have a million of either."""

    sample_ends: array[int]
    """The bytes of all samples up to and with each one."""
    chunk_offsets: array[int]
    """In the file."""
    chunk_firsts: array[int]
    """The number of each chunk's first sample, from 0 on, and behind them the number of samples."""

    @property
    def samples(self) -> int:
        return len(self.sample_ends)

    @property
    def total_bytes(self) -> int:
        return self.bytes_before(self.samples)

    def bytes_before(self, sample: int) -> int:
        """Of all samples ahead of this one."""
        return self.sample_ends[sample - 1] if sample else 0

    def extents(self) -> Iterator[tuple[int, int]]:
        """The (offset, length) of each chunk."""
        for number, offset in enumerate(self.chunk_offsets):
            first, end = self.chunk_firsts[number], self.chunk_firsts[number + 1]
            yield offset, self.bytes_before(end) - self.bytes_before(first)

    def whole_samples(self, size_bytes: int) -> tuple[int, int]:
        """How many samples come ahead of the first that a file of `size_bytes` ends inside of, and where they end."""
        end_bytes = 0
        for number, (offset, length) in enumerate(self.extents()):
            if offset + length <= size_bytes:
                end_bytes = max(end_bytes, offset + length)
                continue
            first = sample = self.chunk_firsts[number]
            while offset + self.bytes_before(sample + 1) - self.bytes_before(first) <= size_bytes:
                sample += 1
            if sample > first:
                end_bytes = max(end_bytes, offset + self.bytes_before(sample) - self.bytes_before(first))
            return sample, end_bytes
        return self.samples, end_bytes


def sample_table(table: memoryview) -> SampleTable | None:
    """Reads an stbl box; None when its tables contradict each other or are larger than any recording's."""
    ends = _sample_ends(table)
    offsets = _chunk_offsets(table)
    runs = _runs(find(table, b"stsc"))
    if ends is None or offsets is None or runs is None:
        return None
    firsts = array("Q", [0])
    for number, (first_chunk, samples) in enumerate(runs):
        next_chunk = runs[number + 1][0] if number + 1 < len(runs) else len(offsets) + 1
        for _ in range(first_chunk, min(next_chunk, len(offsets) + 1)):
            if firsts[-1] + samples > len(ends):
                return None
            firsts.append(firsts[-1] + samples)
    return SampleTable(ends, offsets, firsts) if len(firsts) == len(offsets) + 1 and firsts[-1] == len(ends) else None


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
    numbers = _numbers(sizes[12:], "I", count)
    return None if numbers is None else array("Q", accumulate(numbers))


def _chunk_offsets(table: memoryview) -> array[int] | None:
    for name, code in ((b"stco", "I"), (b"co64", "Q")):
        box = find(table, name)
        if box is not None and len(box) >= 8:
            return _numbers(box[8:], code, int.from_bytes(box[4:8], "big"))
    return None


def _numbers(body: memoryview, code: str, count: int) -> array[int] | None:
    """`count` big-endian numbers of 4 bytes (I) or 8 (Q)."""
    numbers = array(code)
    if len(body) < count * numbers.itemsize:
        return None
    numbers.frombytes(body[: count * numbers.itemsize])
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


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
