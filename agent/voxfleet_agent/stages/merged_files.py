"""The result files of a job, made in one pass over its rows in the order of their indexes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from voxfleet_agent.stages.formats import WRITERS, transcript_name
from voxfleet_agent.stages.job_files import JobFiles
from voxfleet_agent.stages.job_metrics import Metrics, MetricsSum
from voxfleet_agent.stages.manifest import ManifestStream
from voxfleet_agent.stages.merge import ERRORS_NAME, RESULTS_NAME, Places
from voxfleet_agent.stages.outcome import Tally
from voxfleet_agent.stages.repro import file_ref
from voxfleet_agent.stages.rows import not_run_row
from voxfleet_agent.stages.spool import Lines, Spool
from voxfleet_agent.storage.blocking_calls import in_thread
from voxfleet_api.digest import canonical_json
from voxfleet_api.kinds.contract_output import OutputFormat
from voxfleet_api.results import ClipStatus, FileRef, ManifestRow, ResultRow

TRANSCRIPTS_NAME = "transcripts/files.jsonl"
UPLOADS_AT_A_TIME = 8

_NOT_RUN_BYTES = 256
"""A not_run row has at most so much that its clip's line in the manifest has not."""
_FILE_LINE_BYTES = 192
"""A line of TRANSCRIPTS_NAME is shorter."""


def added_bytes(total: int, forms: int, not_run: int, manifest_bytes: int) -> int:
    """The most that `MergedFiles` appends to the spool: digests of transcripts, and not_run rows. Pure."""
    return total * forms * _FILE_LINE_BYTES + (manifest_bytes + not_run * _NOT_RUN_BYTES if not_run else 0)


class MergedFiles:
    """Of the rows only their places are kept, and what they add up to."""

    def __init__(self, files: JobFiles, spool: Spool, places: Places, forms: Sequence[OutputFormat]) -> None:
        """`places` has every clip whose row is in a part: the others did not run. `forms` has no JSONL."""
        self._files = files
        self._spool = spool
        self._places = places
        self._forms = sorted(forms)
        self._results, self._errors, self._transcripts = Lines(spool), Lines(spool), Lines(spool)
        self._metrics = MetricsSum()
        self._uploads = asyncio.Semaphore(UPLOADS_AT_A_TIME)
        self.tally = Tally()

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

    def metrics(self) -> Metrics:
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
