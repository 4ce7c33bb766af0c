"""Merges rows from the spool into the result files and transcripts. Depends on no clock and no host."""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from pydantic import ValidationError

from voxfleet_agent.stages.finalize.job_metrics import JobMetricsSum
from voxfleet_agent.stages.finalize.report import ClipSum
from voxfleet_agent.stages.finalize.spool import Spool, SpooledLines
from voxfleet_agent.stages.finalize.transcript_formats import WRITERS, transcript_name
from voxfleet_agent.stages.frozen_plan import ManifestStream
from voxfleet_agent.stages.job_files import JobFiles, file_ref, plan_mismatch
from voxfleet_agent.stages.result_rows import RowTally, is_row_of, not_run_row
from voxfleet_agent.storage.blocking_calls import in_thread
from voxfleet_api.digest import canonical_json
from voxfleet_api.kinds.contract_output import OutputFormat
from voxfleet_api.ranges import decode, encode
from voxfleet_api.results import ERRORS_NAME, RESULTS_NAME, FileRef, PartRef
from voxfleet_api.rows import ClipStatus, ManifestRow, ResultRow

ROWS_AT_A_TIME = 256
BYTES_AT_A_TIME = 2**20


def require_one_row_each(total: int, indexes: Iterable[int]) -> None:
    """Raises VoxFleetError(PLAN_MISMATCH) unless `indexes` has each of 0 to `total` - 1 exactly once."""
    seen, repeated, unknown = bytearray(total), set[int](), set[int]()
    for index in indexes:
        if not 0 <= index < total:
            unknown.add(index)
        elif seen[index]:
            repeated.add(index)
        else:
            seen[index] = 1
    missing = [index for index in range(total) if not seen[index]] if seen.count(0) else []
    problems = {"more than one row": repeated, "no row": missing, "a row but no clip": unknown}
    message = "; ".join(f"{problem} for {encode(wrong)[:200]}" for problem, wrong in problems.items() if wrong)
    if message:
        raise plan_mismatch(f"the commits do not hold one row a clip: {message}")


class RowOffsets:
    """Where each clip's row lies when all parts are concatenated: two numbers per clip."""

    def __init__(self, total: int, refs: Sequence[PartRef], part_bytes: Sequence[int]) -> None:
        self._refs = refs
        self._starts = array("Q", [0])
        for size_bytes in part_bytes:
            self._starts.append(self._starts[-1] + size_bytes)
        self._offsets = array("Q", bytes(8 * total))
        self._sizes = array("Q", bytes(8 * total))

    @property
    def size_bytes(self) -> int:
        """The size of all parts together."""
        return self._starts[-1]

    def add_part(self, number: int, content: bytes) -> int:
        """Registers the rows of part `number`, one per line in index order; returns the offset where the part begins.

        Raises VoxFleetError(PLAN_MISMATCH) unless it has one line for each clip that the commit names.
        """
        ref, start = self._refs[number], self._starts[number]
        indexes = decode(ref.indexes)
        lines = content.splitlines(keepends=True)
        if len(content) != self._starts[number + 1] - start or len(lines) != len(indexes) or content[-1:] != b"\n":
            raise _wrong_clips(ref)
        offset = start
        for index, line in zip(indexes, lines, strict=True):
            self._offsets[index], self._sizes[index] = offset, len(line)
            offset += len(line)
        return start

    def locate(self, index: int) -> tuple[int, int]:
        """(offset, size in bytes) of a clip's row; the size is 0 for a clip without a row."""
        return self._offsets[index], self._sizes[index]

    def ranges(self) -> Iterator[range]:
        """All clips in order, in ranges whose rows fit into memory."""
        start, size_bytes = 0, 0
        for index, row_bytes in enumerate(self._sizes):
            if index > start and (index - start >= ROWS_AT_A_TIME or size_bytes + row_bytes > BYTES_AT_A_TIME):
                yield range(start, index)
                start, size_bytes = index, 0
            size_bytes += row_bytes
        if start < len(self._sizes):
            yield range(start, len(self._sizes))

    def parse_row(self, line: bytes, clip: ManifestRow) -> ResultRow:
        """The clip's row. Raises VoxFleetError(PLAN_MISMATCH) when the line is no row, or the row of another clip."""
        part = self._refs[bisect_right(self._starts, self._offsets[clip.index]) - 1]
        try:
            row = ResultRow.model_validate_json(line)
        except ValidationError as error:
            raise plan_mismatch(f"{part.path} holds a row that this agent does not understand") from error
        if row.index != clip.index:
            raise _wrong_clips(part)
        if not is_row_of(row, clip):
            raise plan_mismatch(f"the row of index {row.index} is of another clip, or of another version of it")
        return row


def _wrong_clips(ref: PartRef) -> Exception:
    return plan_mismatch(f"{ref.path} holds other clips than its commit names")


TRANSCRIPTS_NAME = "transcripts/files.jsonl"
UPLOADS_AT_A_TIME = 8

_NOT_RUN_BYTES = 256
"""A not_run row is at most this much longer than its clip's line in the manifest."""
_FILE_LINE_BYTES = 192
"""Every line of TRANSCRIPTS_NAME is shorter than this."""


def added_bytes(total: int, formats: int, not_run: int, manifest_bytes: int) -> int:
    """The most that `ResultFiles` appends to the spool: digests of transcripts, and not_run rows. Pure."""
    return total * formats * _FILE_LINE_BYTES + (manifest_bytes + not_run * _NOT_RUN_BYTES if not_run else 0)


class ResultFiles:
    """Results, errors and transcripts of a job. Only row offsets and sums stay in memory, not rows."""

    def __init__(self, files: JobFiles, spool: Spool, offsets: RowOffsets, formats: Sequence[OutputFormat]) -> None:
        """`offsets` has each clip whose row is in a part; the other clips did not run. `formats` excludes JSONL."""
        self._files = files
        self._spool = spool
        self._row_offsets = offsets
        self._formats = sorted(formats)
        self._results, self._errors, self._transcripts = SpooledLines(spool), SpooledLines(spool), SpooledLines(spool)
        self._uploads = asyncio.Semaphore(UPLOADS_AT_A_TIME)
        self.tally = RowTally()
        self.metrics = JobMetricsSum()
        self.clips = ClipSum()

    async def merge(self, manifest: ManifestStream) -> None:
        """Sorts all rows into results and errors, and uploads transcripts. Raises VoxFleetError(PLAN_MISMATCH)."""
        async with asyncio.TaskGroup() as uploads:
            for indexes in self._row_offsets.ranges():
                clips = await manifest.read_to(indexes.stop)
                lines = await in_thread(lambda: [self._read_line(index) for index in indexes])  # noqa: B023 -- awaited
                rows = [self._sort_row(clips[index], line) for index, line in zip(indexes, lines, strict=True)]
                self.metrics.add(rows)
                self.clips.add(rows)
                self.tally.add(rows)
                for row in rows:
                    await self._write_transcripts(uploads, row)

    async def write(self) -> list[FileRef]:
        """Uploads results, errors and, if there are any, the list of transcripts; returns them in this order."""
        contents = {RESULTS_NAME: self._results, ERRORS_NAME: self._errors}
        if self._transcripts.size_bytes:
            contents[TRANSCRIPTS_NAME] = self._transcripts
        refs = []
        for name, lines in contents.items():
            sha256 = await lines.sha256(0, lines.size_bytes)
            await self._files.write(name, lines)
            refs.append(FileRef(path=name, sha256=sha256, size_bytes=lines.size_bytes))
        return refs

    def _read_line(self, index: int) -> bytes:
        return self._spool.read(*self._row_offsets.locate(index))

    def _sort_row(self, clip: ManifestRow, line: bytes) -> ResultRow:
        offset, size_bytes = self._row_offsets.locate(clip.index)
        if line:
            row = self._row_offsets.parse_row(line, clip)
        else:
            row = not_run_row(clip)
            line = row.line()
            offset, size_bytes = self._spool.append(line), len(line)
        (self._results if row.status is ClipStatus.SUCCEEDED else self._errors).add(offset, size_bytes)
        return row

    async def _write_transcripts(self, uploads: asyncio.TaskGroup, row: ResultRow) -> None:
        if row.status is ClipStatus.SUCCEEDED:
            for output_format in self._formats:
                name, content = transcript_name(row.index, output_format), WRITERS[output_format](row)
                line = canonical_json(file_ref(name, content).dump()) + b"\n"
                self._transcripts.add(self._spool.append(line), len(line))
                await self._uploads.acquire()
                uploads.create_task(self._upload(name, content))

    async def _upload(self, name: str, content: bytes) -> None:
        try:
            await self._files.write(name, content)
        finally:
            self._uploads.release()
