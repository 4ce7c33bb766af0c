"""Writes the ledger archive: first segments, then the index that names them. Each step may be repeated.

An index is created and never overwritten, so of two writers one finds out that it has to read again. Objects that no
index names any more are deleted one revision later, so that whoever reads has time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby

from voxfleet_api.digest import canonical_json, sha256_hex
from voxfleet_billing.archive_access import ArchiveError, ArchiveStore
from voxfleet_billing.archive_format import (
    ArchivedHead,
    MonthIndex,
    SegmentEntry,
    SettlementRecord,
    index_folder,
    index_path,
    segment_name,
    segment_path,
)
from voxfleet_billing.archive_reader import KnownIndex, newest_index, segment_lines

MAX_SEGMENT_ROWS = 5000
KEPT_REVISIONS = 8
TRIES = 5
NO_DAY = "1970-01-01"
"""Of a row that a broken clock dated."""
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class NewRow:
    sequence: int
    hash: str
    previous_hash: str
    wall_start: str
    shard_uid: str
    signed_json: bytes

    @property
    def day(self) -> str:
        return self.wall_start[:10] if _DAY.match(self.wall_start) else NO_DAY


@dataclass(frozen=True, slots=True)
class Addition:
    """Settled rows of one chain that follow each other, and how their attempts were settled."""

    chain_id: str
    ledger_key: str
    rows: tuple[NewRow, ...]
    settlements: tuple[SettlementRecord, ...]


@dataclass(frozen=True, slots=True)
class Revision:
    """An index to be created, and the segments that have to be there first, by name."""

    index: MonthIndex
    segments: Mapping[str, bytes] = field(default_factory=dict)


SegmentOf = Callable[[MonthIndex, SegmentEntry], bytes]
Change = Callable[[MonthIndex, SegmentOf], Revision | None]
"""The revision that follows an index; None if it says already what it should."""
Step = Callable[[str], None]


def _no_step(_: str) -> None:
    """Nobody wants to know."""


def revise(
    store: ArchiveStore, first: MonthIndex, known: KnownIndex | None, change: Change, step: Step = _no_step
) -> KnownIndex:
    """Writes the revision that follows the newest index, which is `known` as far as the caller knows.

    `first`: an index of revision 0 for a month of which the archive has nothing yet. Raises ArchiveError.
    """
    for _ in range(TRIES):
        if known is None:
            known = newest_index(store, first.month, first.mac)
        now = first if known is None else known.index
        revision = change(now, lambda index, entry: _segment(store, index, entry))
        if revision is None:
            return known if known is not None else _created(store, first.next(), step)
        for name, content in revision.segments.items():
            store.create(segment_path(first.month, first.mac, name), content)
        step("segments-archived")
        _delete(store, (segment_path(first.month, first.mac, name) for name in now.replaced))
        content = canonical_json(revision.index.dump())
        if store.create(index_path(first.month, first.mac, revision.index.revision), content):
            step("index-archived")
            _delete_old_revisions(store, first.month, first.mac, revision.index.revision)
            return KnownIndex(revision.index.revision, content)
        known = None
    raise ArchiveError(
        f"{store.uri}: {TRIES} others have written the index of Mac {first.mac}, month {first.month}, meanwhile; does"
        " another control plane write to this archive? Give each one of its own"
    )


def with_rows(addition: Addition) -> Change:
    """Adds the rows that the index does not have yet."""

    def change(index: MonthIndex, segment_of: SegmentOf) -> Revision | None:
        head = index.head(addition.chain_id, addition.ledger_key)
        rows = [row for row in addition.rows if head is None or row.sequence > head.sequence]
        if not rows:
            return None
        entries, replaced, segments = list(index.segments), list[str](), dict[str, bytes]()
        waiting = {record.shard_uid: record for record in addition.settlements}
        for day, group in groupby(rows, key=lambda row: row.day):
            for part in _parts(list(group)):
                lines = [row.signed_json for row in part]
                for shard_uid in dict.fromkeys(row.shard_uid for row in part):
                    record = waiting.pop(shard_uid, None)
                    if record is not None:
                        lines.append(canonical_json({"settlement": record.dump()}))
                former = _grows(entries, addition.chain_id, day, part)
                content = b"" if former is None else segment_of(index, former)
                content += b"".join(line + b"\n" for line in lines)
                first = part[0].sequence if former is None else former.first_sequence
                count = len(part) + (0 if former is None else former.rows)
                if former is not None:
                    entries.remove(former)
                    replaced.append(former.name)
                entry = _entry(addition.chain_id, day, first, part[-1].sequence, count, content)
                entries.append(entry)
                segments[entry.name] = content
        last = rows[-1]
        archived = ArchivedHead(
            chain_id=addition.chain_id,
            ledger_key=addition.ledger_key,
            first_previous_hash=rows[0].previous_hash if head is None else head.first_previous_hash,
            sequence=last.sequence,
            hash=last.hash,
        )
        heads = (*(item for item in index.heads if item != head), archived)
        revised = index.next(segments=tuple(entries), heads=heads, replaced=tuple(replaced))
        return Revision(revised, segments)

    return change


def _parts(rows: list[NewRow]) -> Iterable[list[NewRow]]:
    for begin in range(0, len(rows), MAX_SEGMENT_ROWS):
        yield rows[begin : begin + MAX_SEGMENT_ROWS]


def _grows(entries: list[SegmentEntry], chain_id: str, day: str, rows: list[NewRow]) -> SegmentEntry | None:
    """The segment that the rows continue, if it has room."""
    for entry in reversed(entries):
        if (entry.chain_id, entry.day, entry.last_sequence) == (chain_id, day, rows[0].sequence - 1):
            return entry if entry.rows + len(rows) <= MAX_SEGMENT_ROWS else None
    return None


def _entry(chain_id: str, day: str, first: int, last: int, rows: int, content: bytes) -> SegmentEntry:
    digest = sha256_hex(content)
    return SegmentEntry(
        name=segment_name(day, chain_id, first, last, digest),
        day=day,
        chain_id=chain_id,
        first_sequence=first,
        last_sequence=last,
        rows=rows,
        sha256=digest,
        size_bytes=len(content),
    )


def _segment(store: ArchiveStore, index: MonthIndex, entry: SegmentEntry) -> bytes:
    return b"".join(line + b"\n" for line in segment_lines(store, index, entry))


def _created(store: ArchiveStore, index: MonthIndex, step: Step) -> KnownIndex:
    content = canonical_json(index.dump())
    store.create(index_path(index.month, index.mac, index.revision), content)
    step("index-archived")
    found = newest_index(store, index.month, index.mac)
    return KnownIndex(index.revision, content) if found is None else found


def _delete_old_revisions(store: ArchiveStore, month: str, mac: str, newest: int) -> None:
    if newest % KEPT_REVISIONS:
        return
    with suppress(ArchiveError):
        names = store.names(index_folder(month, mac))
        _delete(store, (f"{index_folder(month, mac)}/{name}" for name in names[:-KEPT_REVISIONS]))


def _delete(store: ArchiveStore, paths: Iterable[str]) -> None:
    """What is left harms nobody, as no index names it: keys that may not delete are all right."""
    for path in paths:
        with suppress(ArchiveError):
            store.delete(path)
