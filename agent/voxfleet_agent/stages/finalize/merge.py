"""Finalize's decisions: which row goes where, and what the rows add up to. Pure: no clock, no host."""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from pydantic import ValidationError

from voxfleet_agent.stages.finalize.job_metrics import JobMetrics, JobMetricsSum
from voxfleet_agent.stages.finalize.spool import Spool, SpooledLines
from voxfleet_agent.stages.finalize.transcript_formats import WRITERS, transcript_name
from voxfleet_agent.stages.frozen_plan import ManifestStream
from voxfleet_agent.stages.job_files import JobFiles, file_ref, plan_mismatch
from voxfleet_agent.stages.result_rows import RowTally, is_row_of, not_run_row
from voxfleet_agent.storage.blocking_calls import in_thread
from voxfleet_api.digest import canonical_json
from voxfleet_api.kinds.contract_output import OutputFormat
from voxfleet_api.ranges import decode, encode
from voxfleet_api.results import ERRORS_NAME, RESULTS_NAME, ClipStatus, FileRef, ManifestRow, PartRef, ResultRow

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
        raise plan_mismatch(f"the commits do not hold one row a clip: {found}")


class RowOffsets:
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
            raise plan_mismatch(f"{part.path} holds a row that this agent does not understand") from error
        if row.index != clip.index:
            raise _other_clips(part)
        if not is_row_of(row, clip):
            raise plan_mismatch(f"the row of index {row.index} is of another clip, or of another version of it")
        return row


def _other_clips(ref: PartRef) -> Exception:
    return plan_mismatch(f"{ref.path} holds other clips than its commit names")


TRANSCRIPTS_NAME = "transcripts/files.jsonl"
UPLOADS_AT_A_TIME = 8

_NOT_RUN_BYTES = 256
"""A not_run row has at most so much that its clip's line in the manifest has not."""
_FILE_LINE_BYTES = 192
"""A line of TRANSCRIPTS_NAME is shorter."""


def added_bytes(total: int, forms: int, not_run: int, manifest_bytes: int) -> int:
    """The most that `MergedFiles` appends to the spool: digests of transcripts, and not_run rows. Pure."""
    return total * forms * _FILE_LINE_BYTES + (manifest_bytes + not_run * _NOT_RUN_BYTES if not_run else 0)


class ResultFiles:
    """Of the rows only their places are kept, and what they add up to."""

    def __init__(self, files: JobFiles, spool: Spool, places: RowOffsets, forms: Sequence[OutputFormat]) -> None:
        """`places` has every clip whose row is in a part: the others did not run. `forms` has no JSONL."""
        self._files = files
        self._spool = spool
        self._places = places
        self._forms = sorted(forms)
        self._results, self._errors, self._transcripts = SpooledLines(spool), SpooledLines(spool), SpooledLines(spool)
        self._metrics = JobMetricsSum()
        self._uploads = asyncio.Semaphore(UPLOADS_AT_A_TIME)
        self.tally = RowTally()

    async def make(self, manifest: ManifestStream) -> None:
        """Writes the transcripts of all clips. Raises VoxFleetError(PLAN_MISMATCH) for a row of another clip."""
        async with asyncio.TaskGroup() as uploads:
            for stretch in self._places.stretches():
                clips = await manifest.take(stretch.stop)
                lines = await in_thread(lambda: [self._line(index) for index in stretch])  # noqa: B023 -- awaited
                rows = [self._row(clips[index], line) for index, line in zip(stretch, lines, strict=True)]
                self._metrics.add(rows)
                self.tally.add(rows)
                for row in rows:
                    await self._write_transcripts(uploads, row)

    async def write(self) -> list[FileRef]:
        """The merged files, results first."""
        contents = {RESULTS_NAME: self._results, ERRORS_NAME: self._errors}
        if self._transcripts.size_bytes:
            contents[TRANSCRIPTS_NAME] = self._transcripts
        refs = []
        for name, lines in contents.items():
            sha256 = await lines.sha256(0, lines.size_bytes)
            await self._files.write(name, lines)
            refs.append(FileRef(path=name, sha256=sha256, size_bytes=lines.size_bytes))
        return refs

    def metrics(self) -> JobMetrics:
        return self._metrics.metrics()

    def _line(self, index: int) -> bytes:
        return self._spool.read(*self._places.of(index))

    def _row(self, clip: ManifestRow, line: bytes) -> ResultRow:
        offset, size_bytes = self._places.of(clip.index)
        if line:
            row = self._places.row(line, clip)
        else:
            row = not_run_row(clip)
            line = row.line()
            offset, size_bytes = self._spool.append(line), len(line)
        (self._results if row.status is ClipStatus.SUCCEEDED else self._errors).add(offset, size_bytes)
        return row

    async def _write_transcripts(self, uploads: asyncio.TaskGroup, row: ResultRow) -> None:
        if row.status is ClipStatus.SUCCEEDED:
            for form in self._forms:
                name, content = transcript_name(row.index, form), WRITERS[form](row)
                line = canonical_json(file_ref(name, content).dump()) + b"\n"
                self._transcripts.add(self._spool.append(line), len(line))
                await self._uploads.acquire()
                uploads.create_task(self._upload(name, content))

    async def _upload(self, name: str, content: bytes) -> None:
        try:
            await self._files.write(name, content)
        finally:
            self._uploads.release()
