"""Makes rows durable, one a clip."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from voxfleet_agent.stages.evidence import evidence_name, evidence_of
from voxfleet_agent.stages.job_files import JobFiles
from voxfleet_agent.stages.parts import Parts
from voxfleet_agent.stages.stage import StageContext
from voxfleet_api.digest import canonical_json
from voxfleet_api.results import ClipStatus, ManifestRow, ResultRow


@dataclass
class _Group:
    """Rows of one transaction."""

    rows: list[ResultRow] = field(default_factory=list)
    written: bool = False


class Recorder:
    """Rows that come while the journal syncs share its next sync: on a Mac one alone takes milliseconds."""

    def __init__(self, ctx: StageContext, files: JobFiles, parts: Parts, recorded: Callable[[], None]) -> None:
        """`recorded` is called after each durable row."""
        self._ctx = ctx
        self._files = files
        self._parts = parts
        self._recorded = recorded
        self._group = _Group()
        self._turn = asyncio.Lock()

    async def record(self, row: ResultRow, clip: ManifestRow, file: Path | None = None) -> None:
        """`file`: the clip as fetched. What a quarantined clip leaves behind is safe before its row says so.

        Raises VoxFleetError, FAILURE_BUDGET_EXHAUSTED once the row is durable.
        """
        quarantined = row.status is ClipStatus.QUARANTINED
        if quarantined:
            evidence = await evidence_of(row, clip, file)
            await self._files.write(evidence_name(row.index), canonical_json(evidence.dump()))
            await self._ctx.quarantine.keep(evidence, file)
        await self._write(row)
        self._recorded()
        self._parts.recorded()
        if quarantined:
            self._ctx.budget.spend_quarantined(max(row.audio_milliseconds, clip.audio_milliseconds))

    async def _write(self, row: ResultRow) -> None:
        group = self._group
        group.rows.append(row)
        async with self._turn:
            if not group.written:
                self._group = _Group()
                await self._ctx.journal.record_rows(group.rows)
                group.written = True
