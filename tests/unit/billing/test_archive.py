"""What the ledger archive holds after rows were added to it, whatever came in between."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from tests.rig.ledger_row import ledger_row
from tests.rig.memory_archive import MemoryArchive

from voxfleet_api.digest import canonical_json
from voxfleet_api.ledger import GENESIS_HASH, RowOwner, SignedRow, sign, verify
from voxfleet_billing import archive_writer
from voxfleet_billing.archive_access import ArchiveError
from voxfleet_billing.archive_format import MonthIndex, SettledAttempt, SettlementRecord, TimeClass
from voxfleet_billing.archive_reader import KnownIndex, MacMonth, month_indexes, newest_index, read_rows
from voxfleet_billing.archive_store import ArchiveStore, open_archive
from voxfleet_billing.archive_writer import Addition, NewRow, revise, with_rows

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
MONTH, MAC = "2026-11", "mac-a"
FIRST = MonthIndex(control_plane="cluster-1", mac=MAC, month=MONTH, revision=0)
OWNER = RowOwner(kind="AudioBatchJob", namespace="speech", name="nightly", uid="job-uid")


def chain(count: int, days: Iterable[int] = (), **fields: object) -> list[SignedRow]:
    """Rows of one chain; each is of an attempt of its own. `days`: of the month, of each row."""
    rows: list[SignedRow] = []
    previous, of_row = GENESIS_HASH, list(days) or [20] * count
    for number in range(count):
        times = {"wall_start": f"2026-11-{of_row[number]:02d}T22:00:00.000Z"}
        row = ledger_row(number, previous, **{"shard_uid": f"shard-{number}", **times, **fields})
        rows.append(sign(row, KEY))
        previous = rows[-1].hash
    return rows


def addition(
    rows: Iterable[SignedRow], work: TimeClass = TimeClass.PRODUCTIVE, at: str = "2026-11-21T00:00:00Z"
) -> Addition:
    rows = list(rows)
    return Addition(
        rows[0].row.chain_id,
        "key",
        tuple(
            NewRow(
                item.row.sequence,
                item.hash,
                item.row.previous_hash,
                item.row.wall_start,
                item.row.shard_uid,
                canonical_json(item.dump()),
            )
            for item in rows
        ),
        tuple(
            SettlementRecord(
                owner=OWNER,
                shard_uid=uid,
                settled_at=at,
                attempts=(SettledAttempt(attempt=1, work=work),),
            )
            for uid in dict.fromkeys(item.row.shard_uid for item in rows)
        ),
    )


def newest(store: ArchiveStore) -> MonthIndex:
    found = newest_index(store, MONTH, MAC)
    assert found is not None
    return found.index


def stored_rows(store: ArchiveStore) -> list[SignedRow]:
    return [SignedRow.load_json(row.signed_json) for row in read_rows(store, newest(store))]


def test_rows_are_read_as_they_were_signed_with_the_class_of_their_attempt(tmp_path: Path) -> None:
    store = open_archive(tmp_path.as_uri())
    rows = chain(4)
    known = revise(store, FIRST, None, with_rows(addition(rows[:2])))
    revise(store, FIRST, known, with_rows(addition(rows[2:], TimeClass.RETRY)))
    assert stored_rows(store) == rows
    verify(stored_rows(store), KEY.public_key())
    index = newest(store)
    assert index.revision == 2 and [(item.rows, item.day) for item in index.segments] == [(4, "2026-11-20")]
    assert [item.time_class for item in read_rows(store, index)] == ["Productive", "Productive", "Retry", "Retry"]
    assert MacMonth(store, index).settlements["shard-3", 1].owner == OWNER
    (head,) = index.heads
    assert (head.sequence, head.hash, head.first_previous_hash) == (3, rows[3].hash, GENESIS_HASH)
    assert [item.mac for item in month_indexes(store, MONTH)] == [MAC]
    assert newest_index(store, "2026-10", MAC) is None and list(month_indexes(store, "2026-10")) == []


def test_a_row_of_an_older_agent_names_its_job() -> None:
    store = MemoryArchive()
    rows = chain(1, owner=None, namespace="speech", job_name="old", job_uid="old-uid")
    revise(store, FIRST, None, with_rows(addition(rows)))
    (row,) = read_rows(store, newest(store))
    assert (row.owner_kind, row.owner_namespace, row.owner_name) == ("AudioBatchJob", "speech", "old")
    assert row.owner_uid == "old-uid"


def test_time_of_another_control_plane_and_time_without_work_are_classes_of_their_own() -> None:
    store = MemoryArchive()
    rows = [*chain(1, control_plane="other"), *chain(1, activity="Setup", chain_id="chain-2")]
    for row in rows:
        revise(store, FIRST, None, with_rows(addition([row])))
    assert [item.time_class for item in read_rows(store, newest(store))] == ["Foreign", "Overhead"]


def test_a_segment_that_grew_goes_one_revision_later() -> None:
    store = MemoryArchive()
    rows, known, segments = chain(4), None, []
    for row in rows:
        known = revise(store, FIRST, known, with_rows(addition([row])))
        segments.append(len([name for name in store.objects if "/rows/" in name]))
    assert segments == [1, 2, 2, 2] and stored_rows(store) == rows


def test_few_revisions_of_an_index_are_kept() -> None:
    store = MemoryArchive()
    known = None
    for row in chain(40):
        known = revise(store, FIRST, known, with_rows(addition([row])))
    assert len(store.names(f"{MONTH}/{MAC}/index")) <= 2 * archive_writer.KEPT_REVISIONS
    assert len(stored_rows(store)) == 40


def test_a_large_day_is_several_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_writer, "MAX_SEGMENT_ROWS", 3)
    store, rows = MemoryArchive(), chain(8)
    known = revise(store, FIRST, None, with_rows(addition(rows[:7])))
    revise(store, FIRST, known, with_rows(addition(rows[7:])))
    assert [item.rows for item in newest(store).segments] == [3, 3, 2]
    assert stored_rows(store) == rows


def test_the_second_of_two_writers_reads_again() -> None:
    store, rows = MemoryArchive(), chain(3)
    known = revise(store, FIRST, None, with_rows(addition(rows[:1])))
    revise(store, FIRST, known, with_rows(addition(rows[1:2])))
    revise(store, FIRST, known, with_rows(addition(rows[1:])))  # still at the first revision
    assert stored_rows(store) == rows and newest(store).revision == 3


def test_an_archive_that_somebody_else_writes_says_so() -> None:
    store, rows = MemoryArchive(), chain(1)
    known = KnownIndex(0, canonical_json(FIRST.dump()))

    def overtake(path: str) -> None:
        if "/index/" in path:
            store.objects.setdefault(
                path, canonical_json(FIRST.model_copy(update={"revision": int(path[-13:-5])}).dump())
            )

    store.before_write = overtake
    with pytest.raises(ArchiveError, match="another control plane"):
        revise(store, FIRST, known, with_rows(addition(rows)))


class Killed(Exception):
    """The process dies."""


@dataclass
class Fuse:
    writes: int

    def __call__(self, _: str) -> None:
        self.writes -= 1
        if self.writes < 0:
            raise Killed


@given(
    days=st.lists(st.integers(1, 5), min_size=1, max_size=12),
    cuts=st.lists(st.integers(1, 4), min_size=1, max_size=12),
    kills=st.lists(st.integers(0, 4), max_size=8),
)
def test_no_row_is_lost_or_twice_whenever_its_writer_dies(days: list[int], cuts: list[int], kills: list[int]) -> None:
    store, rows = MemoryArchive(), chain(len(days), days)
    fuses = [*kills]
    done = 0
    while done < len(rows):
        cut = rows[done : done + cuts[done % len(cuts)]]
        store.before_write = Fuse(fuses.pop()) if fuses else lambda _: None
        try:
            revise(store, FIRST, None, with_rows(addition(cut)))
        except Killed:
            continue
        assert stored_rows(store) == rows[: done + len(cut)]
        done += len(cut)
    store.before_write = lambda _: None
    assert stored_rows(store) == rows
    index = newest(store)
    named = {f"{MONTH}/{MAC}/{item.name}" for item in index.segments}
    assert named <= store.objects.keys()
    assert sum(item.rows for item in index.segments) == len(rows)


@pytest.mark.parametrize("fault", ["changed", "missing", "index"])
def test_an_archive_that_was_changed_is_refused(fault: str) -> None:
    store = MemoryArchive()
    revise(store, FIRST, None, with_rows(addition(chain(2))))
    segment = next(name for name in store.objects if "/rows/" in name)
    index = next(name for name in store.objects if "/index/" in name)
    if fault == "changed":
        store.objects[segment] = store.objects[segment].replace(b"1000", b"9000")
    elif fault == "missing":
        del store.objects[segment]
    else:
        store.objects[index] = b"{}"
    with pytest.raises(ArchiveError, match="archive"):
        stored_rows(store)


@pytest.mark.parametrize(
    "uri", ["", "archive", "/archive", "file:", "file:///", "file://host/a", "s3://", "http://host/a", "s3://b?x=1"]
)
def test_an_address_that_is_none_is_refused(uri: str) -> None:
    with pytest.raises(ArchiveError, match="write file:///folder or s3://bucket/prefix"):
        open_archive(uri)


def test_a_folder_creates_once_and_says_what_is_wrong(tmp_path: Path) -> None:
    store = open_archive(f"file://{tmp_path}/volume")
    with pytest.raises(ArchiveError, match="mount the volume"):
        store.create("a/b.json", b"1")
    (tmp_path / "volume").mkdir()
    assert store.create("a/b.json", b"1") and not store.create("a/b.json", b"2")
    assert store.get("a/b.json") == b"1" and store.names("a") == ["b.json"] and store.names("") == ["a"]
    with pytest.raises(ArchiveError, match="no path"):
        store.get("../a")
    (tmp_path / "volume" / "file").write_bytes(b"")
    with pytest.raises(ArchiveError, match="mount the volume"):
        store.create("file/x", b"1")
    store.delete("a/b.json")
    store.delete("a/b.json")
    assert store.names("a") == []
    with pytest.raises(ArchiveError, match="no such file"):
        store.get("a/b.json")
