"""Verifies what the archive has of one Mac: digests, rows, signatures, chains, lanes. Pure but for what it is given.

Memory is that of the Mac's links and times, not of its rows: a segment is dropped once it is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from voxfleet_api.ledger import SignedRow
from voxfleet_billing.archive_format import MonthIndex, SegmentEntry, SettlementRecord
from voxfleet_billing.chain_links import Link, SettledUpTo, broken_ends, broken_links
from voxfleet_billing.finding import Check, Finding
from voxfleet_billing.lane_overlaps import HeldTime, overlaps
from voxfleet_billing.row_check import NotALine, faults_of, parse_line
from voxfleet_billing.signing_keys import BadKey, public_key

MAX_FINDINGS = 200
"""Of one Mac. A tampered archive may break every row, and the first ones say enough."""

ReadSegment = Callable[[MonthIndex, SegmentEntry], bytes | None]
"""The bytes of a segment as they lie there; None if there is no such object."""


@dataclass(frozen=True, slots=True)
class MacReport:
    mac: str
    rows: int
    segments: int
    chains: int
    findings: tuple[Finding, ...]
    more_findings: int
    """How many are left out."""


@dataclass(slots=True)
class _Seen:
    mac: str
    rows: int = 0
    segments: int = 0
    findings: list[Finding] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    held: list[HeldTime] = field(default_factory=list)

    def find(self, month: str, check: Check, where: str, message: str) -> None:
        self.findings.append(Finding(self.mac, month, check, where, message))


def verify_mac(
    indexes: Sequence[MonthIndex],
    read: ReadSegment,
    *,
    pinned_keys: Collection[str] | None,
    statements: Sequence[SettledUpTo] = (),
) -> MacReport:
    """`indexes`: of one Mac, one a month. `pinned_keys`: the ledger keys to accept, in base64; None: the archive's own.

    `statements`: how far statements of these months count the Mac's chains.
    """
    seen = _Seen(indexes[0].mac)
    for index in sorted(indexes, key=lambda item: item.month):
        keys = _keys(seen, index, pinned_keys)
        for entry in index.segments:
            _segment(seen, index, entry, read(index, entry), keys)
    heads = [(index.month, head) for index in indexes for head in index.heads]
    for found in (
        broken_links(seen.mac, seen.links),
        broken_ends(seen.mac, seen.links, heads, statements),
        overlaps(seen.mac, seen.held),
    ):
        seen.findings.extend(found)
    ordered = sorted(seen.findings, key=lambda item: (item.month, item.where, item.check))
    return MacReport(
        mac=seen.mac,
        rows=seen.rows,
        segments=seen.segments,
        chains=len({link.chain_id for link in seen.links}),
        findings=tuple(ordered[:MAX_FINDINGS]),
        more_findings=max(0, len(ordered) - MAX_FINDINGS),
    )


def _keys(seen: _Seen, index: MonthIndex, pinned: Collection[str] | None) -> dict[str, Ed25519PublicKey]:
    """By chain. A chain whose key is not pinned is checked all the same, so that what was changed is told apart."""
    keys = {}
    for head in index.heads:
        name = f"{head.chain_id}#{head.sequence}"
        try:
            keys[head.chain_id] = public_key(head.ledger_key)
        except BadKey as error:
            seen.find(index.month, Check.KEY, name, f"the key of its chain cannot be read: {error}")
            continue
        if pinned is not None and head.ledger_key not in pinned:
            message = f"its chain is signed by {head.ledger_key}, which is not pinned for this Mac"
            seen.find(index.month, Check.KEY, name, message)
    return keys


def _segment(
    seen: _Seen, index: MonthIndex, entry: SegmentEntry, content: bytes | None, keys: dict[str, Ed25519PublicKey]
) -> None:
    seen.segments += 1
    if content is None:
        rows = f"{entry.chain_id}#{entry.first_sequence} to #{entry.last_sequence}"
        seen.find(index.month, Check.SEGMENT, entry.name, f"is missing, and with it rows {rows}")
        return
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry.sha256:
        seen.find(index.month, Check.SEGMENT, entry.name, f"was changed: its sha256 is {digest}")
    sequences = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            parsed = parse_line(line)
        except NotALine as error:
            seen.find(index.month, Check.SEGMENT, entry.name, f"line {number} cannot be read: {error}")
            continue
        if isinstance(parsed, SettlementRecord):
            continue
        _row(seen, index, parsed, keys)
        sequences.append(parsed.row.sequence)
        if parsed.row.chain_id != entry.chain_id:
            seen.find(index.month, Check.INDEX, parsed.name, f"is of another chain than its segment {entry.name}")
    told = (entry.first_sequence, entry.last_sequence)
    if len(sequences) != entry.rows or (sequences and (sequences[0], sequences[-1]) != told):
        shown = f"#{sequences[0]} to #{sequences[-1]}" if sequences else "none"
        message = (
            f"the index says {entry.rows} rows, {entry.chain_id}#{entry.first_sequence} to #{entry.last_sequence};"
            f" it has {len(sequences)}: {shown}"
        )
        seen.find(index.month, Check.INDEX, entry.name, message)
    for before, after in pairwise(sequences):
        if after <= before:
            name = f"{entry.chain_id}#{after}"
            seen.find(index.month, Check.CHAIN, name, f"stands behind #{before} in segment {entry.name}")


def _row(seen: _Seen, index: MonthIndex, signed: SignedRow, keys: dict[str, Ed25519PublicKey]) -> None:
    row = signed.row
    seen.rows += 1
    for fault in faults_of(signed, keys.get(row.chain_id)):
        seen.find(index.month, Check.ROW, signed.name, fault)
    if row.chain_id not in keys:
        seen.find(index.month, Check.KEY, signed.name, "the index names no key for its chain")
    seen.links.append(Link(index.month, row.chain_id, row.sequence, row.previous_hash, signed.hash))
    try:
        start, end = _moment(row.wall_start), _moment(row.wall_end)
        if end < start:
            raise ValueError("it ends before it starts")
    except ValueError as error:
        seen.find(index.month, Check.ROW, signed.name, f"its wall times are none: {error}")
    else:
        seen.held.append(HeldTime(index.month, row.hardware_id, row.lane, start, end, signed.name))


def _moment(text: str) -> datetime:
    """Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"without a time zone: {text!r}")
    return moment
