"""The durable state of one attempt's stage: its base, the rows of its clips, its parts."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from voxfleet_agent.journal.journal import Journal
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.results import PartRef
from voxfleet_api.rows import ResultRow
from voxfleet_shared import crash_points


class SqliteStageJournal:
    """Implements stages.stage_context.StageJournal."""

    def __init__(self, journal: Journal, key: AttemptKey) -> None:
        self._journal = journal
        self._key = key

    async def base(self) -> bytes | None:
        def work(db: sqlite3.Connection) -> bytes | None:
            stored = db.execute("SELECT content FROM bases WHERE shard_uid = ? AND attempt = ?", self._key).fetchone()
            return None if stored is None else bytes(stored[0])

        return await self._journal.read(work)

    async def freeze_base(self, content: bytes, kept_rows: Sequence[ResultRow] = ()) -> None:
        """Raises sqlite3.IntegrityError when a base is already frozen: a base never changes."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT INTO bases VALUES (?, ?, ?)", (*self._key, content))
            self._insert_rows(db, kept_rows)

        await self._journal.write(work, wake=False)
        crash_points.point("base-frozen")

    async def record_rows(self, rows: Sequence[ResultRow]) -> None:
        """Records rows in one transaction. Raises sqlite3.IntegrityError when a clip already has a row."""

        await self._journal.write(lambda db: self._insert_rows(db, rows), wake=False)
        for _ in rows:
            crash_points.point("row-recorded")

    def _insert_rows(self, db: sqlite3.Connection, rows: Sequence[ResultRow]) -> None:
        db.executemany(
            "INSERT INTO clip_rows VALUES (?, ?, ?, ?, NULL)", [(*self._key, row.index, row.line()) for row in rows]
        )

    async def recorded_indexes(self) -> frozenset[int]:
        def work(db: sqlite3.Connection) -> frozenset[int]:
            rows = db.execute("SELECT clip FROM clip_rows WHERE shard_uid = ? AND attempt = ?", self._key)
            return frozenset(clip for (clip,) in rows)

        return await self._journal.read(work)

    async def unfrozen_lines(self, limit: int) -> Sequence[tuple[int, bytes]]:
        def work(db: sqlite3.Connection) -> list[tuple[int, bytes]]:
            rows = db.execute(
                "SELECT clip, line FROM clip_rows WHERE shard_uid = ? AND attempt = ? AND part IS NULL ORDER BY clip"
                " LIMIT ?",
                (*self._key, limit),
            )
            return [(clip, bytes(line)) for clip, line in rows]

        return await self._journal.read(work)

    async def freeze_part(self, part: FrozenPart, content: bytes, indexes: Sequence[int]) -> None:
        """Raises ValueError when a clip has no row or its row is in another part."""

        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT INTO parts VALUES (?, ?, ?, ?, ?, ?)",
                (*self._key, part.number, json.dumps(part.ref.dump()), content, int(part.uploaded)),
            )
            assigned = db.executemany(
                "UPDATE clip_rows SET part = ? WHERE shard_uid = ? AND attempt = ? AND clip = ? AND part IS NULL",
                [(part.number, *self._key, clip) for clip in indexes],
            ).rowcount
            if assigned != len(indexes):
                raise ValueError(f"part {part.number} names {len(indexes)} clips, but holds {assigned}")

        await self._journal.write(work, wake=False)
        crash_points.point("part-frozen")

    async def parts(self) -> Sequence[FrozenPart]:
        def work(db: sqlite3.Connection) -> list[FrozenPart]:
            rows = db.execute(
                "SELECT number, ref, uploaded FROM parts WHERE shard_uid = ? AND attempt = ? ORDER BY number", self._key
            )
            return [FrozenPart(number, PartRef.load(json.loads(ref)), bool(uploaded)) for number, ref, uploaded in rows]

        return await self._journal.read(work)

    async def part_content(self, number: int) -> bytes:
        def work(db: sqlite3.Connection) -> bytes:
            (content,) = db.execute(
                "SELECT content FROM parts WHERE shard_uid = ? AND attempt = ? AND number = ?", (*self._key, number)
            ).fetchone()
            return bytes(content)

        return await self._journal.read(work)

    async def mark_uploaded(self, number: int) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE parts SET uploaded = 1 WHERE shard_uid = ? AND attempt = ? AND number = ?", (*self._key, number)
            )

        await self._journal.write(work, wake=False)
        crash_points.point("part-marked")


@dataclass(frozen=True, slots=True)
class FrozenPart:
    """A part whose bytes are durable in the journal; `ref.path` contains their sha256."""

    number: int
    ref: PartRef
    uploaded: bool
