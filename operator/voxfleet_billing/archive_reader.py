"""Reads a ledger archive. Stands in until the real one is merged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from voxfleet_api.ledger import RowOwner, SignedRow
from voxfleet_billing.archive_format import MonthIndex, SegmentEntry, SettlementRecord, TimeClass
from voxfleet_billing.archive_store import ArchiveError, ArchiveStore
from voxfleet_billing.archived_row import ArchivedRow


@dataclass(frozen=True, slots=True)
class SettledWork:
    time_class: str
    estimated_milliseconds: int
    owner: RowOwner


def month_indexes(store: ArchiveStore, month: str) -> Iterator[MonthIndex]:
    newest: dict[str, str] = {}
    for name in store.list(month):
        parts = name.split("/")
        if len(parts) == 4 and parts[2] == "index":
            newest[parts[1]] = name
    for _, name in sorted(newest.items()):
        content = store.get(name)
        if content is not None:
            yield MonthIndex.load_json(content)


def segment_lines(store: ArchiveStore, index: MonthIndex, entry: SegmentEntry) -> Iterator[bytes]:
    content = store.get(f"{index.month}/{index.mac}/{entry.name}")
    if content is None or hashlib.sha256(content).hexdigest() != entry.sha256:
        raise ArchiveError(f"segment {entry.name} of {index.mac} is missing or was changed; run voxfleet bill verify")
    yield from content.splitlines()


def settlements(store: ArchiveStore, index: MonthIndex) -> Mapping[tuple[str, int], SettledWork]:
    found = {}
    for entry in index.segments:
        for line in segment_lines(store, index, entry):
            content = json.loads(line)
            if "settlement" in content:
                record = SettlementRecord.load(content["settlement"])
                for item in record.attempts:
                    found[record.shard_uid, item.attempt] = SettledWork(
                        item.work, item.estimated_milliseconds, record.owner
                    )
    return found


def read_rows(store: ArchiveStore, index: MonthIndex) -> Iterator[ArchivedRow]:
    settled = settlements(store, index)
    for entry in sorted(index.segments, key=lambda item: (item.chain_id, item.first_sequence)):
        for line in segment_lines(store, index, entry):
            content = json.loads(line)
            if "row" in content:
                yield _row(line, SignedRow.load(content), index, settled)


def _row(
    line: bytes, signed: SignedRow, index: MonthIndex, settled: Mapping[tuple[str, int], SettledWork]
) -> ArchivedRow:
    row, owner = signed.row, signed.row.held_for
    work = settled.get((row.shard_uid, row.attempt))
    time_class: str = TimeClass.OVERHEAD
    if row.control_plane != index.control_plane:
        time_class = TimeClass.FOREIGN
    elif row.activity == "Work":
        time_class = TimeClass.ORPHANED if work is None else work.time_class
    return ArchivedRow(
        signed_json=line,
        chain_id=row.chain_id,
        sequence=row.sequence,
        hash=signed.hash,
        signature=signed.signature,
        owner_kind=owner.kind,
        owner_namespace=owner.namespace,
        owner_name=owner.name,
        owner_uid=owner.uid,
        shard_uid=row.shard_uid,
        attempt=row.attempt,
        lane=row.lane,
        activity=row.activity,
        price_class=row.price_class,
        billing_key=row.billing_key,
        wall_start=row.wall_start,
        wall_end=row.wall_end,
        milliseconds=row.monotonic_milliseconds,
        audio_milliseconds=row.audio_milliseconds,
        clips=row.clips,
        paused_milliseconds=row.paused_milliseconds,
        hardware_id=row.hardware_id,
        boot_id=row.boot_id,
        control_plane=row.control_plane,
        time_class=time_class,
    )
