"""Reads the rows of a night out of the ledger archive, one Mac's month at a time.

What is read does not depend on what was archived since: segments may have grown, and later records may settle an
attempt anew, but a row and what stands before it in its chain stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic_core import from_json

from voxfleet_api.ledger import Activity
from voxfleet_billing.archive_access import ArchiveStore
from voxfleet_billing.archive_format import MonthIndex, SegmentEntry, SettlementRecord, TimeClass
from voxfleet_billing.archive_reader import SETTLEMENT, read_rows, segment_lines
from voxfleet_billing.archived_row import ArchivedRow
from voxfleet_billing.instants import milliseconds_of, text_of, written_milliseconds
from voxfleet_billing.nightly.nightly_format import ChainPart, NightSource, is_of_night

Works = dict[tuple[str, int], str]
"""What the work of an attempt was good for, by shard uid and attempt."""


def night_rows(store: ArchiveStore, index: MonthIndex, source: NightSource, until: int) -> Iterator[ArchivedRow]:
    """Those of this control plane, each chain's in their order. `until`: milliseconds since 1970. Raises ArchiveError.

    `index`: of the source's month, this revision or any later one.
    """
    since = milliseconds_of(source.since)
    for chain in source.chains:
        entries = sorted(
            (
                item
                for item in index.segments
                if item.chain_id == chain.chain_id and item.first_sequence <= chain.through
            ),
            key=lambda item: item.first_sequence,
        )
        days = text_of(since)[:10], text_of(until - 1)[:10]
        first = next((place for place, item in enumerate(entries) if _may_have_some(item, chain, days)), None)
        while first is not None:
            read = entries[first:]
            wanted = tuple(item for item in read if _may_have_some(item, chain, days))
            works = _works(store, index, read, chain.through)
            rows = [
                row
                for row in read_rows(store, index.model_copy(update={"segments": wanted}))
                if row.time_class != TimeClass.FOREIGN and is_of_night(began(row), row.sequence, chain, since, until)
            ]
            work = [row for row in rows if row.activity == Activity.WORK.value]
            if first and any((row.shard_uid, row.attempt) not in works for row in work):
                first -= 1  # its attempt began in the segment before, and was settled there
                continue
            for row in work:
                row.time_class = works.get((row.shard_uid, row.attempt), TimeClass.ORPHANED.value)
            yield from rows
            break


def began(row: ArchivedRow) -> int | None:
    """Milliseconds since 1970; None if that is no time."""
    return written_milliseconds(row.wall_start)


def _may_have_some(entry: SegmentEntry, chain: ChainPart, days: tuple[str, str]) -> bool:
    return entry.last_sequence > chain.after or days[0] <= entry.day <= days[1]


def _works(store: ArchiveStore, index: MonthIndex, entries: Sequence[SegmentEntry], through: int) -> Works:
    """What was said of attempts when row `through` was archived: what was added later stands behind a later row."""
    found: Works = {}
    for entry in entries:
        grew = entry.last_sequence > through
        for line in segment_lines(store, index, entry):
            if line.startswith(SETTLEMENT):
                record = SettlementRecord.load(from_json(line)["settlement"])
                found.update({(record.shard_uid, item.attempt): str(item.work) for item in record.attempts})
            elif grew and from_json(line)["row"]["sequence"] > through:
                break
    return found
