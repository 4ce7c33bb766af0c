"""The journal survives kill -9 and refuses invalid writes."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from voxfleet_agent.folder_lock import FolderInUseError
from voxfleet_agent.journal import attempt_table, event_table, schema, settings_table
from voxfleet_agent.journal.journal import Journal, JournalError
from voxfleet_agent.journal.stage_journal import FrozenPart, SqliteStageJournal
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.protocol import EventType, RenewAnswer
from voxfleet_api.results import PartRef
from voxfleet_api.rows import ClipStatus, ResultRow

KEY = AttemptKey("shard-1", 1)

# Records rows as fast as it can and prints each index only after its write returned.
WRITER = """
import asyncio, sys
from pathlib import Path
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_agent.journal.journal import Journal
from voxfleet_agent.journal.stage_journal import SqliteStageJournal
from voxfleet_api.rows import ClipStatus, ResultRow

async def main(folder):
    journal = await Journal.open(folder, folder / "journal.sqlite3")
    stage = SqliteStageJournal(journal, AttemptKey("shard-1", 1))
    for index in range(1_000_000):
        await stage.record_rows([ResultRow(index=index, custom_id=str(index), status=ClipStatus.SUCCEEDED, text="one")])
        print(index, flush=True)

asyncio.run(main(Path(sys.argv[1])))
"""


def clip(index: int) -> ResultRow:
    return ResultRow(index=index, custom_id=f"c{index}", status=ClipStatus.SUCCEEDED, text="one")


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = await Journal.open(tmp_path, tmp_path / "journal.sqlite3")
    yield opened
    await opened.close()


async def test_every_row_that_was_confirmed_survives_kill_9(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", WRITER, str(tmp_path)]
    writer = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 -- the loop has nothing else to do
    assert writer.stdout is not None
    confirmed = [int(writer.stdout.readline()) for _ in range(25)]
    with pytest.raises(FolderInUseError, match="in use by another"):
        await Journal.open(tmp_path, tmp_path / "journal.sqlite3")
    writer.send_signal(signal.SIGKILL)
    confirmed += [int(line) for line in writer.stdout]
    writer.wait()
    writer.stdout.close()
    journal = await Journal.open(tmp_path, tmp_path / "journal.sqlite3")
    recorded = sorted(await SqliteStageJournal(journal, KEY).recorded_indexes())
    await journal.close()
    assert confirmed == recorded[: len(confirmed)]
    assert recorded == list(range(len(recorded))) and len(recorded) - len(confirmed) <= 1


async def test_the_journal_syncs_every_commit_and_keeps_its_id(tmp_path: Path) -> None:
    ids = []
    pragmas = ("journal_mode", "synchronous", "fullfsync", "checkpoint_fullfsync", "user_version")
    for _ in range(2):
        journal = await Journal.open(tmp_path, tmp_path / "journal.sqlite3")
        ids.append(journal.journal_id)
        values = await journal.read(lambda db: [db.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas])
        assert values == ["wal", 2, 1, 1, schema.VERSION]
        await journal.close()
    assert ids[0] == ids[1]
    assert (tmp_path / "journal.sqlite3").stat().st_mode & 0o777 == 0o600


async def test_a_journal_of_another_format_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "journal.sqlite3"
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(JournalError, match="format 99"):
        await Journal.open(tmp_path, file)
    file.write_bytes(b"no database at all, and long enough to be looked at" * 20)
    with pytest.raises(JournalError, match="start anew"):
        await Journal.open(tmp_path, file)


async def test_the_way_back_to_an_older_format_is_the_one_that_is_written_down(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "upgrade.md").read_text()
    assert f"now in format {schema.VERSION}." in page
    assert f"has format {schema.VERSION}, this agent reads" in page
    file = tmp_path / "journal.sqlite3"
    newer = sqlite3.connect(file)
    newer.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    newer.close()
    said = rf"has format {schema.VERSION + 1}, this agent reads {schema.VERSION}; run the version that wrote it"
    with pytest.raises(JournalError, match=said):
        await Journal.open(tmp_path, file)
    assert "this agent reads …; run the version that wrote it" in page and file.name in page
    file.rename(tmp_path / "kept")  # as the page says
    await (await Journal.open(tmp_path, file)).close()


async def test_a_failed_transaction_leaves_nothing(journal: Journal) -> None:
    def work(db: sqlite3.Connection) -> None:
        settings_table.put(db, "epoch", "7")
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        await journal.write(work)
    assert await journal.read(lambda db: settings_table.get(db, "epoch")) is None


async def test_a_base_is_frozen_once(journal: Journal) -> None:
    stage = SqliteStageJournal(journal, KEY)
    assert await stage.base() is None
    await stage.freeze_base(b"first", [clip(3)])
    with pytest.raises(sqlite3.IntegrityError):
        await stage.freeze_base(b"second", [clip(4)])
    assert await stage.base() == b"first" and await stage.recorded_indexes() == {3}


async def test_a_clip_has_one_row(journal: Journal) -> None:
    stage = SqliteStageJournal(journal, KEY)
    await stage.record_rows([clip(3)])
    with pytest.raises(sqlite3.IntegrityError):
        await stage.record_rows([clip(4), clip(3)])
    assert await stage.recorded_indexes() == {3}, "all or none"


async def test_a_part_keeps_its_rows(journal: Journal) -> None:
    stage = SqliteStageJournal(journal, KEY)
    await stage.record_rows([clip(index) for index in (2, 0, 1)])
    assert await stage.unfrozen_lines(9) == [(index, clip(index).line()) for index in range(3)]
    assert [index for index, _ in await stage.unfrozen_lines(2)] == [0, 1]
    part = FrozenPart(0, PartRef(path="p", sha256="a" * 64, indexes="0-1"), uploaded=False)
    await stage.freeze_part(part, b"bytes", [0, 1])
    assert [index for index, _ in await stage.unfrozen_lines(9)] == [2]
    other = FrozenPart(1, PartRef(path="q", sha256="b" * 64, indexes="1-2"), uploaded=False)
    with pytest.raises(ValueError, match="2 clips, but holds 1"):
        await stage.freeze_part(other, b"other", [1, 2])
    assert await stage.parts() == [part]
    assert await stage.part_content(0) == b"bytes"
    await stage.mark_uploaded(0)
    assert [found.uploaded for found in await stage.parts()] == [True]
    assert await stage.recorded_indexes() == {0, 1, 2}


async def test_attempts_do_not_see_each_other(journal: Journal) -> None:
    await SqliteStageJournal(journal, KEY).record_rows([clip(0)])
    other = SqliteStageJournal(journal, AttemptKey("shard-1", 2))
    assert await other.recorded_indexes() == frozenset() and await other.unfrozen_lines(9) == []
    await journal.write(lambda db: attempt_table.delete(db, KEY))
    assert await SqliteStageJournal(journal, KEY).recorded_indexes() == frozenset()


async def test_tombstones_keep_the_highest_number(journal: Journal) -> None:
    for attempt in (2, 5, 3):
        await journal.write(lambda db, attempt=attempt: attempt_table.add_tombstone(db, AttemptKey("s", attempt), 100))  # type: ignore[misc] # bound
    assert await journal.read(attempt_table.tombstones) == {"s": 5}
    await journal.write(lambda db: attempt_table.drop_tombstones(db, 101))
    assert await journal.read(attempt_table.tombstones) == {}


async def test_unread_events_are_bounded(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_table, "MAX_EVENTS", 20)

    def work(db: sqlite3.Connection) -> tuple[int, int, int]:
        for number in range(100):
            event_table.append(db, EventType.ROW, RenewAnswer(renewed=number))
        return len(event_table.after(db, 0, 1000)), event_table.floor(db), event_table.last(db)

    kept, floor, last = await journal.write(work)
    assert kept <= 20 and floor + kept == last == 100
