"""Finalize's decisions: which row goes where, and what the rows add up to. Pure: no clock, no host."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from pydantic import ValidationError

from voxfleet_agent.stages.inherit import is_row_of
from voxfleet_agent.stages.mismatch import mismatch
from voxfleet_api.ranges import decode, encode
from voxfleet_api.results import ManifestRow, PartRef, ResultRow

RESULTS_NAME = "results.jsonl"
ERRORS_NAME = "errors.jsonl"
INDEX_NAME = "index.json"

ROWS_AT_A_TIME = 256
BYTES_AT_A_TIME = 2**20


def require_one_each(total: int, indexes: Iterable[int]) -> None:
    """Raises VoxFleetError(PLAN_MISMATCH) unless every clip from 0 up to `total` is there exactly once."""
    seen, twice, strange = bytearray(total), set[int](), set[int]()
    for index in indexes:
        if not 0 <= index < total:
            strange.add(index)
        elif seen[index]:
            twice.add(index)
        else:
            seen[index] = 1
    missing = [index for index in range(total) if not seen[index]] if seen.count(0) else []
    problems = {"more than one row": twice, "no row": missing, "a row but no clip": strange}
    found = "; ".join(f"{problem} for {encode(wrong)[:200]}" for problem, wrong in problems.items() if wrong)
    if found:
        raise mismatch(f"the commits do not hold one row a clip: {found}")


class Places:
    """Where each clip's row lies when the parts stand one behind the other: two numbers a clip."""

    def __init__(self, total: int, refs: Sequence[PartRef], part_bytes: Sequence[int]) -> None:
        self._refs = refs
        self._starts = array("Q", [0])
        for size_bytes in part_bytes:
            self._starts.append(self._starts[-1] + size_bytes)
        self._offsets = array("Q", bytes(8 * total))
        self._sizes = array("Q", bytes(8 * total))

    @property
    def size_bytes(self) -> int:
        """Of all parts."""
        return self._starts[-1]

    def add(self, number: int, content: bytes) -> int:
        """Notes the rows of part `number`, one a line in the order of their indexes; where the part begins.

        Raises VoxFleetError(PLAN_MISMATCH) when it has another number of lines than the commit names clips.
        """
        ref, start = self._refs[number], self._starts[number]
        indexes = decode(ref.indexes)
        lines = content.splitlines(keepends=True)
        if len(content) != self._starts[number + 1] - start or len(lines) != len(indexes) or content[-1:] != b"\n":
            raise _other_clips(ref)
        offset = start
        for index, line in zip(indexes, lines, strict=True):
            self._offsets[index], self._sizes[index] = offset, len(line)
            offset += len(line)
        return start

    def of(self, index: int) -> tuple[int, int]:
        """(offset, bytes); no bytes for a clip without a row."""
        return self._offsets[index], self._sizes[index]

    def stretches(self) -> Iterator[range]:
        """All clips in order, in stretches whose rows fit into memory."""
        start, size_bytes = 0, 0
        for index, row_bytes in enumerate(self._sizes):
            if index > start and (index - start >= ROWS_AT_A_TIME or size_bytes + row_bytes > BYTES_AT_A_TIME):
                yield range(start, index)
                start, size_bytes = index, 0
            size_bytes += row_bytes
        if start < len(self._sizes):
            yield range(start, len(self._sizes))

    def row(self, line: bytes, clip: ManifestRow) -> ResultRow:
        """Of this clip. Raises VoxFleetError(PLAN_MISMATCH) when the line is no row, or another clip's."""
        part = self._refs[bisect_right(self._starts, self._offsets[clip.index]) - 1]
        try:
            row = ResultRow.model_validate_json(line)
        except ValidationError as error:
            raise mismatch(f"{part.path} holds a row that this agent does not understand") from error
        if row.index != clip.index:
            raise _other_clips(part)
        if not is_row_of(row, clip):
            raise mismatch(f"the row of index {row.index} is of another clip, or of another version of it")
        return row


def _other_clips(ref: PartRef) -> Exception:
    return mismatch(f"{ref.path} holds other clips than its commit names")
