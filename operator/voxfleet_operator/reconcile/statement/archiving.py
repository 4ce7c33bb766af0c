"""What of a Mac goes into the ledger archive, and what is read back: its settled rows, and what was true of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby

from pydantic_core import from_json

from voxfleet_api.kinds import MacAgent, VoiceEndpoint
from voxfleet_api.pools import PoolKind, lanes_of
from voxfleet_billing.archive_access import ArchiveStore
from voxfleet_billing.archive_format import (
    MacFacts,
    MonthIndex,
    SettledAttempt,
    SettlementRecord,
    TimeClass,
)
from voxfleet_billing.archive_reader import KnownIndex, read_rows
from voxfleet_billing.archive_writer import Addition, Change, NewRow, Revision, SegmentOf
from voxfleet_operator.fleet.verified_row import NO_MONTH
from voxfleet_operator.reconcile.statement.decide import SettledRow, SettledRun
from voxfleet_operator.reconcile.statement.totals import CountedRow


def addition(run: SettledRun, ledger_key: str, settled_at: str) -> Addition:
    """The run as the archive keeps it."""
    parsed = [(item, from_json(item.row.content)["row"]) for item in run.rows]
    rows = tuple(
        NewRow(
            item.row.sequence,
            item.row.hash,
            row["previousHash"],
            row["wallStart"],
            item.row.attempt.shard_uid,
            item.row.content,
        )
        for item, row in parsed
    )
    ours = sorted((item for item in run.rows if item.row.ours), key=lambda item: item.row.attempt.shard_uid)
    records = tuple(_settlement(list(items), settled_at) for _, items in groupby(ours, _shard_uid))
    return Addition(run.chain_id, ledger_key, rows, records)


def _shard_uid(item: SettledRow) -> str:
    return item.row.attempt.shard_uid


def _settlement(rows: list[SettledRow], settled_at: str) -> SettlementRecord:
    first = rows[0].row
    works = {item.row.attempt.attempt: item for item in rows}
    return SettlementRecord(
        owner=first.owner,
        shard_uid=first.attempt.shard_uid,
        billing_key=first.billing_key,
        settled_at=settled_at,
        attempts=tuple(
            SettledAttempt(attempt=attempt, hardware_id=item.row.row.hardware_id, work=item.work)
            for attempt, item in sorted(works.items())
        ),
    )


@dataclass(frozen=True, slots=True)
class ArchivedMonth:
    """A Mac's month as the archive has it."""

    index: MonthIndex
    rows: tuple[tuple[str, CountedRow], ...]
    """With the id of the chain."""


def archived_month(store: ArchiveStore, known: KnownIndex) -> ArchivedMonth:
    """Reads all of it. Raises ArchiveError."""
    index = known.index
    rows = tuple(
        (
            row.chain_id,
            CountedRow(
                month=index.month if row.wall_start[:7] == index.month else _month(row.wall_start, index.month),
                namespace=row.owner_namespace,
                billing_key=row.billing_key,
                time_class=TimeClass(row.time_class),
                milliseconds=row.milliseconds,
                audio_milliseconds=row.audio_milliseconds,
                clips=row.clips,
                endpoint_uid=row.owner_uid if row.owner_kind == VoiceEndpoint.crd.kind else None,
            ),
        )
        for row in read_rows(store, index)
    )
    return ArchivedMonth(index, rows)


def _month(wall_start: str, archived_in: str) -> str:
    """A row of a broken clock counts in the month in which it is kept; one of an earlier month corrects that one."""
    earlier = archived_in != NO_MONTH and wall_start[:4].isdigit() and wall_start[:7] < archived_in
    return wall_start[:7] if earlier else archived_in


def mac_facts(mac: MacAgent, since: str) -> MacFacts:
    machine, spec = mac.status.machine, mac.spec
    billing = getattr(spec, "billing", None)
    return MacFacts(
        since=since,
        hardware_id="" if machine is None else machine.hardware_id,
        chip="" if machine is None else machine.chip,
        memory_bytes=0 if machine is None else machine.memory_bytes,
        os="" if machine is None else machine.os,
        lanes=0 if machine is None else lanes_of(machine.pools, PoolKind.OFFLINE),
        lessor=None if billing is None else billing.lessor,
        sku=None if billing is None else billing.sku,
        billing_key=None if billing is None else billing.billing_key,
        availability=spec.availability,
    )


def with_facts(mac: MacAgent, now: str) -> Change:
    """Writes down what is true of the Mac from now on, or from the beginning of the month for its first facts."""

    def change(index: MonthIndex, _: SegmentOf) -> Revision | None:
        begin = max(f"{index.month}-01T00:00:00Z", mac.metadata.creation_timestamp or "")
        found = mac_facts(mac, now if index.facts else min(begin, now))
        last = index.facts[-1] if index.facts else None
        if last is not None and last.until is None and _same(last, found):
            return None
        if last is None or last.until is not None:
            facts: Iterable[MacFacts] = (*index.facts, found)
        elif not last.hardware_id and _same(last.model_copy(update=_machine(found)), found):
            facts = (*index.facts[:-1], found.model_copy(update={"since": last.since}))  # its first contact
        else:
            facts = (*index.facts, found)
        return Revision(index.next(segments=index.segments, facts=tuple(facts)[-MAX_FACTS:]))

    return change


MAX_FACTS = 200
"""Of one month; the oldest go if somebody edits a MacAgent more often."""


def without_mac(now: str) -> Change:
    """Writes down that the MacAgent is gone."""

    def change(index: MonthIndex, _: SegmentOf) -> Revision | None:
        if not index.facts or index.facts[-1].until is not None:
            return None
        ended = index.facts[-1].model_copy(update={"until": now})
        return Revision(index.next(facts=(*index.facts[:-1], ended)))

    return change


def by_control_plane(uid: str, change: Change) -> Change:
    """The change, by a control plane whose rows count from then on, too."""

    def joined(index: MonthIndex, segment_of: SegmentOf) -> Revision | None:
        revision = change(index, segment_of)
        if revision is None or uid in index.control_planes:
            return revision
        later = (*index.later_control_planes, uid)
        return replace(revision, index=revision.index.model_copy(update={"later_control_planes": later}))

    return joined


def finished(index: MonthIndex, _: SegmentOf) -> Revision | None:
    """Writes down that nothing is added any more."""
    return None if index.final else Revision(index.next(final=True))


def tells_facts(index: MonthIndex | None, mac: MacAgent) -> bool:
    """Whether the index says of the Mac what is true now."""
    last = index.facts[-1] if index is not None and index.facts else None
    return last is not None and last.until is None and _same(last, mac_facts(mac, last.since))


def month_of(now: datetime) -> str:
    return now.strftime("%Y-%m")


def _same(one: MacFacts, other: MacFacts) -> bool:
    return one.model_copy(update={"since": other.since}) == other


def _machine(found: MacFacts) -> dict[str, object]:
    names = ("hardware_id", "chip", "memory_bytes", "os", "lanes")
    return {name: getattr(found, name) for name in names}
