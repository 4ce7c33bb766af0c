"""Reads the ledger archive; a stand-in for the real one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from voxfleet_api.digest import sha256_hex
from voxfleet_api.ledger import RowOwner
from voxfleet_billing.archive_format import MonthIndex, SegmentEntry, SettlementRecord, TimeClass
from voxfleet_billing.archive_store import ArchiveError, ArchiveStore
from voxfleet_billing.archived_row import ArchivedRow


@dataclass(frozen=True, slots=True)
class SettledWork:
    work: str
    estimated_milliseconds: int
    owner: RowOwner


def month_indexes(store: ArchiveStore, month: str) -> Iterator[MonthIndex]:
    for mac in store.names(month):
        revisions = list(store.names(f"{month}/{mac}/index"))
        if revisions:
            yield MonthIndex.load_json(store.get(f"{month}/{mac}/index/{revisions[-1]}"))


def segment_lines(store: ArchiveStore, index: MonthIndex, entry: SegmentEntry) -> Iterator[bytes]:
    content = store.get(f"{index.month}/{index.mac}/{entry.name}")
    if sha256_hex(content) != entry.sha256:
        raise ArchiveError(f"{entry.name} of Mac {index.mac} was changed: its sha256 is not the index's")
    yield from content.splitlines()


def settlements(store: ArchiveStore, index: MonthIndex) -> Mapping[tuple[str, int], SettledWork]:
    found: dict[tuple[str, int], SettledWork] = {}
    for entry in index.segments:
        for line in segment_lines(store, index, entry):
            if line.startswith(b'{"settlement"'):
                record = SettlementRecord.load(from_json(line)["settlement"])
                for attempt in record.attempts:
                    found[record.shard_uid, attempt.attempt] = SettledWork(
                        attempt.work, attempt.estimated_milliseconds, record.owner
                    )
    return found


def read_rows(store: ArchiveStore, index: MonthIndex) -> Iterator[ArchivedRow]:
    settled = settlements(store, index)
    for entry in sorted(index.segments, key=lambda entry: (entry.chain_id, entry.first_sequence)):
        for line in segment_lines(store, index, entry):
            if not line.startswith(b'{"settlement"'):
                yield _row(line, index, settled)


def _row(line: bytes, index: MonthIndex, settled: Mapping[tuple[str, int], SettledWork]) -> ArchivedRow:
    signed: dict[str, Any] = from_json(line, cache_strings="all")
    row = signed["row"]
    owner = row["owner"]
    shard, attempt = row["shardUid"], row["attempt"]
    if row["controlPlane"] != index.control_plane:
        time_class = TimeClass.FOREIGN.value
    elif row["activity"] != "Work":
        time_class = TimeClass.OVERHEAD.value
    else:
        work = settled.get((shard, attempt))
        time_class = TimeClass.ORPHANED.value if work is None else work.work
    return ArchivedRow(
        line,
        row["chainId"],
        row["sequence"],
        signed["hash"],
        signed["signature"],
        owner["kind"],
        owner["namespace"],
        owner["name"],
        owner["uid"],
        shard,
        attempt,
        row["lane"],
        row["activity"],
        row.get("priceClass"),
        row.get("billingKey"),
        row["wallStart"],
        row["wallEnd"],
        row["monotonicMilliseconds"],
        row.get("audioMilliseconds", 0),
        row.get("clips", 0),
        row.get("pausedMilliseconds", 0),
        row["hardwareId"],
        row["bootId"],
        row["controlPlane"],
        time_class,
    )
