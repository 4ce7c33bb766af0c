"""Part files: frozen in the journal, then uploaded, then marked."""

from __future__ import annotations

from voxfleet_agent import crash
from voxfleet_agent.stages.job_files import JobFiles
from voxfleet_agent.stages.stage import FrozenPart, StageJournal
from voxfleet_api.digest import sha256_hex
from voxfleet_api.ranges import encode
from voxfleet_api.results import PartRef, part_name

PART_ROWS = 64
PART_SECONDS = 10.0
"""A part is cut when either is reached, or at the end."""


class Parts:
    """The parts of one attempt."""

    def __init__(self, files: JobFiles, journal: StageJournal, folder: str) -> None:
        self._files = files
        self._journal = journal
        self._folder = folder

    async def deliver(self) -> None:
        """Cuts the recorded rows that no part holds and uploads whatever the journal does not know as uploaded."""
        rows = sorted(await self._journal.unfrozen_rows(), key=lambda row: row.index)
        number = len(await self._journal.parts())
        for start in range(0, len(rows), PART_ROWS):
            held = rows[start : start + PART_ROWS]
            content = b"".join(row.line() for row in held)
            sha256, indexes = sha256_hex(content), [row.index for row in held]
            path = f"{self._folder}/{part_name(number, sha256)}"
            ref = PartRef(path=path, sha256=sha256, indexes=encode(indexes))
            await self._journal.freeze_part(FrozenPart(number, ref, content, uploaded=False), indexes)
            number += 1
        await self.upload_frozen()

    async def upload_frozen(self) -> None:
        """A repeated upload is harmless: the same bytes under a name that holds their sha256."""
        for part in await self._journal.parts():
            if not part.uploaded:
                await self._files.write_once(part.ref.path, part.content)
                crash.point("part-uploaded")
                await self._journal.mark_uploaded(part.number)
