"""Everything that the archive proves about one line of a bill. Pure but for what it is given."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.ledger import GENESIS_HASH, Activity, SignedRow
from voxfleet_api.quantities import hours_text, seconds_text
from voxfleet_billing.archive_format import (
    ArchivedHead,
    MonthIndex,
    SegmentEntry,
    SettledAttempt,
    SettlementRecord,
    TimeClass,
)
from voxfleet_billing.charge import Charge
from voxfleet_billing.facts_in_time import FactsInTime
from voxfleet_billing.instants import milliseconds_of, written_milliseconds
from voxfleet_billing.mac_verification import ReadSegment
from voxfleet_billing.money import plain
from voxfleet_billing.row_check import NotALine, faults_of, parse_line
from voxfleet_billing.signing_keys import BadKey, public_key

Plain = dict[str, Any]

WHY = {
    TimeClass.PRODUCTIVE: "its attempt's result is the one that the shard committed",
    TimeClass.RETRY: "its attempt delivered no result, or another attempt's was committed",
    TimeClass.OVERHEAD: "setup and cleanup are overhead, whatever became of the attempt",
    TimeClass.ORPHANED: "no record settles its attempt: its job was deleted before",
    TimeClass.FOREIGN: "another control plane bound the Mac then, and counts it",
}
WHY_OF_ENDPOINT = {
    TimeClass.PRODUCTIVE: "sessions of a VoiceEndpoint were open, or had been within the last minute",
    TimeClass.OVERHEAD: "a VoiceEndpoint's lane was loaded, warm without sessions, or cleaned up, or a batch's lane"
    " stood still for its sessions",
}


class BadRowName(ValueError):
    """A name that is none of a row."""


@dataclass(frozen=True, slots=True)
class RowName:
    chain_id: str
    sequence: int

    @classmethod
    def parse(cls, text: str) -> RowName:
        """Of `<chain>#<sequence>`. Raises BadRowName."""
        chain_id, _, number = text.rpartition("#")
        if not chain_id or not number.isascii() or not number.isdigit():
            raise BadRowName(f"{text!r} is no row; write <chain>#<number>, as x_RowId in an export has it")
        return cls(chain_id, int(number))

    def __str__(self) -> str:
        return f"{self.chain_id}#{self.sequence}"


@dataclass(slots=True)
class Evidence:
    """What was read about a row: itself, its neighbours, its segment, how it was settled."""

    index: MonthIndex
    entry: SegmentEntry
    segment_faults: list[str] = field(default_factory=list)
    row: SignedRow | None = None
    before: SignedRow | None = None
    after: SignedRow | None = None
    attempt: SettledAttempt | None = None
    record: SettlementRecord | None = None
    repeated: bool = False


def holds(index: MonthIndex, name: RowName) -> bool:
    """Whether the index names a segment that has the row."""
    return any(_covers(entry, name, name.sequence) for entry in index.segments)


def evidence_of(name: RowName, index: MonthIndex, read: ReadSegment) -> Evidence:
    """Reads the segments of the row and of its neighbours. `index`: one that `holds` the row."""
    own = next(entry for entry in index.segments if _covers(entry, name, name.sequence))
    found = Evidence(index, own)
    wanted = range(name.sequence - 1, name.sequence + 2)
    near = [entry for entry in index.segments if any(_covers(entry, name, number) for number in wanted)]
    records: list[SettlementRecord] = []
    for entry in near:
        content = read(index, entry)
        if content is None:
            found.segment_faults.append(f"segment {entry.name} is missing")
            continue
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            found.segment_faults.append(f"segment {entry.name} was changed: its digest is another one")
        _take(found, records, content, name)
    if found.row is not None:
        row = found.row.row
        for record in records:
            settled = next((item for item in record.attempts if item.attempt == row.attempt), None)
            if record.shard_uid != row.shard_uid or settled is None:
                continue
            if found.record is None or record.settled_at >= found.record.settled_at:
                found.record, found.attempt = record, settled
    return found


def _take(found: Evidence, records: list[SettlementRecord], content: bytes, name: RowName) -> None:
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            parsed = parse_line(line)
        except NotALine as error:
            found.segment_faults.append(f"line {number} cannot be read: {error}")
            continue
        if isinstance(parsed, SettlementRecord):
            records.append(parsed)
        elif parsed.row.chain_id == name.chain_id:
            match parsed.row.sequence - name.sequence:
                case 0:
                    found.repeated = found.row is not None
                    found.row = parsed
                case -1:
                    found.before = parsed
                case 1:
                    found.after = parsed


def explained(
    evidence: Evidence, signed: SignedRow, pinned_keys: Collection[str] | None, charge: Charge | None, book: str | None
) -> tuple[Plain, list[str]]:
    """What is known of the row, as plain data, and what does not fit. `book`: the price book's digest."""
    head = next((item for item in evidence.index.heads if item.chain_id == signed.row.chain_id), None)
    faults = [*evidence.segment_faults]
    proof = _proof(evidence, signed, head, pinned_keys, faults)
    told: Plain = {
        "row": signed.name,
        "line": _line(evidence, signed),
        "time": _time(signed, faults),
        "class": _class(evidence, signed),
        "price": _price(charge, book),
        "proof": proof,
    }
    if evidence.repeated:
        faults.append("the row stands in the archive twice")
    return told, faults


def _line(evidence: Evidence, signed: SignedRow) -> Plain:
    row, owner = signed.row, signed.row.held_for
    start = written_milliseconds(row.wall_start)
    facts = None if start is None else FactsInTime(evidence.index.facts).at(start, row.hardware_id).facts
    return {
        "owner": f"{owner.kind} {owner.namespace}/{owner.name}",
        "ownerUid": owner.uid,
        "shardUid": row.shard_uid,
        "attempt": row.attempt,
        "activity": str(row.activity),
        "billingKey": row.billing_key or "",
        "mac": evidence.index.mac,
        "hardwareId": row.hardware_id,
        "chip": "" if facts is None else facts.chip,
        "bootId": row.boot_id,
        "lane": row.lane,
        "priceClass": row.price_class or "",
        "controlPlane": row.control_plane,
    }


def _time(signed: SignedRow, faults: list[str]) -> Plain:
    row, awake = signed.row, signed.row.monotonic_milliseconds
    wall: int | None = None
    try:
        wall = milliseconds_of(row.wall_end) - milliseconds_of(row.wall_start)
    except (ValueError, TypeError) as error:  # TypeError: without a time zone
        faults.append(f"its wall times are none: {error}")
    told: Plain = {
        "wallStart": row.wall_start,
        "wallEnd": row.wall_end,
        "wallSeconds": "" if wall is None else _signed_seconds(wall),
        "billedSeconds": seconds_text(awake),
        "billedHours": hours_text(awake),
        "pausedSeconds": seconds_text(row.paused_milliseconds),
        "audioSeconds": seconds_text(row.audio_milliseconds),
        "clips": row.clips,
    }
    if wall is not None and wall > awake:
        told["note"] = f"for {seconds_text(wall - awake)} s the Mac slept or its clock was set ahead; not billed"
    elif wall is not None and wall < awake:
        told["note"] = f"its wall clock was set back by {seconds_text(awake - wall)} s; the clock that bills was not"
    return told


def _signed_seconds(milliseconds: int) -> str:
    return seconds_text(milliseconds) if milliseconds >= 0 else f"-{seconds_text(-milliseconds)}"


def _class(evidence: Evidence, signed: SignedRow) -> Plain:
    row, attempt, record = signed.row, evidence.attempt, evidence.record
    if row.control_plane not in evidence.index.control_planes:
        found: str = TimeClass.FOREIGN
    elif row.activity is not Activity.WORK:
        found = TimeClass.OVERHEAD
    else:
        found = TimeClass.ORPHANED if attempt is None else attempt.work
    whys = WHY | WHY_OF_ENDPOINT if row.held_for.kind == VoiceEndpoint.crd.kind else WHY
    told: Plain = {"class": str(found), "why": whys.get(TimeClass(found), "") if found in set(TimeClass) else ""}
    if record is not None:
        told["settledAt"] = record.settled_at
    return told


def _price(charge: Charge | None, book: str | None) -> Plain:
    if charge is None or charge.money is None:
        return {"note": "no price book was given" if charge is None else charge.note or "it has no price"}
    money = charge.money
    return {
        "lessor": charge.lessor,
        "sku": charge.sku,
        "hours": plain(money.quantity),
        "listPerHour": plain(money.list_unit_price),
        "contractedPerHour": plain(money.contracted_unit_price),
        "listCost": f"{plain(money.list_cost)} {money.currency}",
        "billedCost": f"{plain(money.billed_cost)} {money.currency}",
        "effectiveCost": f"{plain(money.effective_cost)} {money.currency}",
        **({"commitment": charge.commitment} if charge.commitment else {}),
        **({"note": charge.note} if charge.note else {}),
        "priceBook": book or "",
    }


def _proof(
    evidence: Evidence,
    signed: SignedRow,
    head: ArchivedHead | None,
    pinned_keys: Collection[str] | None,
    faults: list[str],
) -> Plain:
    key = None
    if head is None:
        faults.append("the index names no key for its chain")
    else:
        try:
            key = public_key(head.ledger_key)
        except BadKey as error:
            faults.append(f"the key of its chain cannot be read: {error}")
    own = faults_of(signed, key)
    faults.extend(own)
    pinned = None if pinned_keys is None or head is None else head.ledger_key in pinned_keys
    if pinned is False:
        faults.append("the key of its chain is not pinned for this Mac")
    return {
        "hash": signed.hash,
        "signature": "holds" if key is not None and not own else "DOES NOT HOLD",
        "signedBy": "" if head is None else head.ledger_key,
        "keyIsPinned": "unknown: no cluster and no --public-key" if pinned is None else "yes" if pinned else "NO",
        "before": _before(evidence, signed, head, faults),
        "after": _after(evidence, signed, head, faults),
        "segment": evidence.entry.name,
        "segmentSha256": evidence.entry.sha256,
        "segmentIs": "; ".join(evidence.segment_faults) or "as the index says",
        "indexRevision": evidence.index.revision,
        "monthIsFinal": evidence.index.final,
    }


def _before(evidence: Evidence, signed: SignedRow, head: ArchivedHead | None, faults: list[str]) -> str:
    row, before = signed.row, evidence.before
    if row.sequence == 0:
        if row.previous_hash != GENESIS_HASH:
            faults.append("it is its chain's first row and names one before it")
        return "it is the first of its chain"
    if before is None:
        if head is not None and row.previous_hash == head.first_previous_hash:
            return f"#{row.sequence - 1} lies in an earlier month, and has the hash that the index says"
        faults.append(f"row {row.chain_id}#{row.sequence - 1} is missing")
        return "missing"
    if before.hash != row.previous_hash:
        faults.append(f"it does not name the hash of {before.name}")
        return f"{before.name}, whose hash it does not name"
    return f"{before.name}, whose hash it names; until {before.row.wall_end}"


def _after(evidence: Evidence, signed: SignedRow, head: ArchivedHead | None, faults: list[str]) -> str:
    after = evidence.after
    if after is None:
        if head is not None and head.sequence == signed.row.sequence:
            if head.hash != signed.hash:
                faults.append("the index ends the chain at another row of this number")
            return "it is the last of its chain in this month, as the index says"
        faults.append(f"row {signed.row.chain_id}#{signed.row.sequence + 1} is missing")
        return "missing"
    if after.row.previous_hash != signed.hash:
        faults.append(f"{after.name} does not name its hash")
        return f"{after.name}, which does not name its hash"
    return f"{after.name}, which names its hash; from {after.row.wall_start}"


def _covers(entry: SegmentEntry, name: RowName, sequence: int) -> bool:
    return entry.chain_id == name.chain_id and entry.first_sequence <= sequence <= entry.last_sequence
