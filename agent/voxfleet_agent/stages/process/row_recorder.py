"""Records each clip's row durably, and before it the evidence of a quarantined clip."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from voxfleet_agent.stages.job_files import JobFiles
from voxfleet_agent.stages.process.part_uploader import PartUploader
from voxfleet_agent.stages.stage_context import StageContext
from voxfleet_api.digest import canonical_json
from voxfleet_api.rows import ClipStatus, Evidence, ManifestRow, ResultRow


@dataclass
class _RowGroup:
    """Rows that one transaction writes."""

    rows: list[ResultRow] = field(default_factory=list)
    written: bool = False


class RowRecorder:
    """Records rows. All that arrive during a journal sync share the next one: a sync takes milliseconds on a Mac."""

    def __init__(
        self, ctx: StageContext, files: JobFiles, parts: PartUploader, on_recorded: Callable[[int], None]
    ) -> None:
        """`on_recorded` is called with the index of each durable row."""
        self._ctx = ctx
        self._files = files
        self._parts = parts
        self._on_recorded = on_recorded
        self._group = _RowGroup()
        self._write_lock = asyncio.Lock()

    async def record(self, row: ResultRow, clip: ManifestRow, file: Path | None = None) -> None:
        """Records a row, and before it the evidence if the clip is quarantined. `file`: the clip as fetched.

        Raises VoxFleetError, with FAILURE_BUDGET_EXHAUSTED only after the row is durable.
        """
        quarantined = row.status is ClipStatus.QUARANTINED
        if quarantined:
            evidence = await evidence_of(row, clip, file)
            await self._files.write(evidence_name(row.index), canonical_json(evidence.dump()))
            await self._ctx.quarantine.keep(evidence, file)
        await self._write(row)
        self._ctx.work_meter(clips=1)
        self._ctx.clip_metrics.recorded(row)
        self._on_recorded(row.index)
        self._parts.row_recorded()
        if quarantined:
            self._ctx.budget.spend_quarantined(max(row.audio_milliseconds, clip.audio_milliseconds))

    async def _write(self, row: ResultRow) -> None:
        group = self._group
        group.rows.append(row)
        async with self._write_lock:
            if not group.written:
                self._group = _RowGroup()
                await self._ctx.journal.record_rows(group.rows)
                group.written = True


HEAD_BYTES = 64


def evidence_name(index: int) -> str:
    """The path below the job's folder."""
    return f"quarantine/{index:06d}.json"


async def evidence_of(row: ResultRow, clip: ManifestRow, file: Path | None) -> Evidence:
    """`file`: the clip as fetched; None when it was not. The same clip always gives the same bytes."""
    if row.error is None or row.error.failure_class is None:
        raise ValueError(f"clip {row.index} is not quarantined")
    return Evidence(
        index=row.index,
        custom_id=row.custom_id,
        failure_class=row.error.failure_class,
        reason=row.error.reason,
        sha256=row.sha256,
        size_bytes=clip.size_bytes,
        etag=clip.etag,
        head="" if file is None else await asyncio.to_thread(_head, file),
        attestation=row.attestation,
    )


def _head(file: Path) -> str:
    with file.open("rb") as opened:
        return opened.read(HEAD_BYTES).hex()
