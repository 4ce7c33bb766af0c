"""Part files: each is frozen in the journal, then uploaded, then marked as uploaded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from voxfleet_agent.journal.stage_journal import FrozenPart
from voxfleet_agent.stages.job_files import JobFiles
from voxfleet_agent.stages.stage_context import StageJournal
from voxfleet_api.digest import sha256_hex
from voxfleet_api.ranges import encode
from voxfleet_api.results import PartRef, part_name
from voxfleet_shared import crash_points

PART_ROWS = 64
PART_SECONDS = 10.0
"""A part is cut at either limit, and at the end."""


class PartUploader:
    """Cuts and uploads the parts of one attempt. Their contents stay in the journal, not in memory."""

    def __init__(self, files: JobFiles, journal: StageJournal, folder: str) -> None:
        self._files = files
        self._journal = journal
        self._folder = folder
        self._count = 0
        self._unfrozen = 0
        self._due = asyncio.Event()
        self._ended = False

    async def resume(self) -> None:
        """Uploads the parts that an earlier run froze. A second upload is harmless: it has the same bytes and name."""
        parts = await self._journal.parts()
        self._count = len(parts)
        for part in parts:
            if not part.uploaded:
                await self._upload(part, await self._journal.part_content(part.number))

    def row_recorded(self) -> None:
        """Counts one more row in the journal; a full part is cut at once."""
        self._unfrozen += 1
        if self._unfrozen >= PART_ROWS:
            self._due.set()

    def end(self) -> None:
        """Announces that no more rows come, so that `keep_delivering` returns after its current round."""
        self._ended = True
        self._due.set()

    async def keep_delivering(self) -> None:
        """Delivers in rounds while the lane works. The caller must deliver the rows recorded after the last round."""
        while not self._ended:
            try:
                async with asyncio.timeout(PART_SECONDS):
                    await self._due.wait()
            except TimeoutError:
                pass  # PART_SECONDS passed with fewer rows than a full part
            self._due.clear()
            self._unfrozen = 0
            await self.deliver()

    async def deliver(self) -> None:
        """Cuts the recorded rows that are in no part yet into parts, and uploads them."""
        while lines := await self._journal.unfrozen_lines(PART_ROWS):
            await self._cut(lines)
            if len(lines) < PART_ROWS:  # later rows wait for the next round, or parts would be tiny
                return

    async def _cut(self, lines: Sequence[tuple[int, bytes]]) -> None:
        content, indexes = b"".join(line for _, line in lines), [index for index, _ in lines]
        sha256 = sha256_hex(content)
        path = f"{self._folder}/{part_name(self._count, sha256)}"
        part = FrozenPart(self._count, PartRef(path=path, sha256=sha256, indexes=encode(indexes)), uploaded=False)
        await self._journal.freeze_part(part, content, indexes)
        self._count += 1
        await self._upload(part, content)

    async def _upload(self, part: FrozenPart, content: bytes) -> None:
        await self._files.write_once(part.ref.path, content)
        crash_points.point("part-uploaded")
        await self._journal.mark_uploaded(part.number)
