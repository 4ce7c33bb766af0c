"""What is kept of a ledger row between its verification and its settlement. Pure."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.digest import canonical_json
from voxfleet_api.kinds import AudioBatchJob, VoiceEndpoint
from voxfleet_api.ledger import LedgerError, LedgerRow, RowOwner, SignedRow
from voxfleet_billing.instants import written_milliseconds

_WALL_START = re.compile(rb'"wallStart":"([^"]*)"')
_CHAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""It is part of the names of objects in the ledger archive."""
LONGEST_NAMESPACE = 63
NO_MONTH = "1970-01"
"""The month of a row that a broken clock dated: its time still counts somewhere, and stops no row after it."""
OLDEST_MONTHS, NEWEST_MONTHS = 24, 1
"""Before and after the month in which a row is read. Each month of a Mac is a statement, of which there are no more."""
LONGEST_ROW_MILLISECONDS = 31 * 24 * 3600 * 1000
"""Of one activity of one attempt."""
MOST_AUDIO_MILLISECONDS = 1000 * LONGEST_ROW_MILLISECONDS
MAX_ROW_BYTES = 8192
"""A row is some 900 bytes, and is kept until it is in the archive."""


@dataclass(frozen=True, slots=True)
class VerifiedRow:
    """What decisions read is a field. The rest is parsed when asked for, because many rows may wait."""

    chain_id: str
    sequence: int
    hash: str
    month: str
    """In UTC, such as 2026-11: when the row begins."""
    attempt: AttemptKey
    ours: bool
    """Whether it belongs to this control plane. Rows of others are links of the chain and nothing else."""
    activity: str
    """An Activity, or what a newer agent calls one. Whatever is not Work is overhead."""
    machine_milliseconds: int
    audio_milliseconds: int
    namespace: str = ""
    """The owner's, cut to what a namespace's name can have."""
    ledger_key: str = ""
    """The key that signed it; empty: the one that is pinned."""
    billing_key: str | None = None
    """As the job or the endpoint says; cut as well."""
    content: bytes = b""
    """The signed row's canonical JSON, as the archive keeps it: `row`, `hash` and `signature`."""
    owner_kind: str = AudioBatchJob.crd.kind

    @classmethod
    def of(cls, signed: SignedRow, control_plane: str, now: datetime, ledger_key: str = "") -> Self:
        """Raises LedgerError for more time or audio than a row can stand for, more text than one needs, or a chain with
        an id that cannot be part of a file's name.
        """
        row, content = signed.row, canonical_json(signed.dump())
        if not _CHAIN_ID.fullmatch(row.chain_id):
            raise LedgerError(signed.name, "the id of its chain has other characters than letters, digits and .-_")
        if row.monotonic_milliseconds > LONGEST_ROW_MILLISECONDS or row.audio_milliseconds > MOST_AUDIO_MILLISECONDS:
            raise LedgerError(signed.name, "stands for more time or audio than one attempt can have taken")
        if len(content) > MAX_ROW_BYTES:
            raise LedgerError(signed.name, f"is {len(content)} bytes long; a row has at most {MAX_ROW_BYTES}")
        return cls(
            chain_id=sys.intern(row.chain_id),
            sequence=row.sequence,
            hash=signed.hash,
            month=sys.intern(_month(row, now)),
            attempt=AttemptKey(sys.intern(row.shard_uid), row.attempt),
            ours=row.control_plane == control_plane,
            activity=row.activity,
            machine_milliseconds=row.monotonic_milliseconds,
            audio_milliseconds=row.audio_milliseconds,
            namespace=sys.intern(row.held_for.namespace[:LONGEST_NAMESPACE]),
            ledger_key=ledger_key,
            billing_key=None if row.billing_key is None else sys.intern(row.billing_key[:LONGEST_NAMESPACE]),
            content=content,
            owner_kind=sys.intern(row.held_for.kind),
        )

    @property
    def is_of_endpoint(self) -> bool:
        """Whether a VoiceEndpoint held the lane: no shard knows of it, and nobody commits a result."""
        return self.owner_kind == VoiceEndpoint.crd.kind

    @property
    def row(self) -> LedgerRow:
        """What the agent signed."""
        return SignedRow.load_json(self.content).row

    @property
    def owner(self) -> RowOwner:
        return self.row.held_for

    @property
    def lane(self) -> str:
        return self.row.lane

    @property
    def wall_start(self) -> str:
        return self.row.wall_start

    def began_before(self, moment: str) -> bool:
        """`moment`: in UTC, such as 2026-11-20T22:00:00. Asked of many rows at once: parses nothing."""
        found = _WALL_START.search(self.content)
        return found is not None and found[1].decode() < moment

    @property
    def wall_end(self) -> str:
        return self.row.wall_end

    @property
    def clips(self) -> int:
        return self.row.clips

    @property
    def paused_milliseconds(self) -> int:
        return self.row.paused_milliseconds


def _month(row: LedgerRow, now: datetime) -> str:
    """Bills and nights read the times of a month's rows: one whose times cannot be read is of none."""
    if written_milliseconds(row.wall_start) is None or written_milliseconds(row.wall_end) is None:
        return NO_MONTH
    wall_start = row.wall_start
    ahead = (int(wall_start[:4]) - now.year) * 12 + int(wall_start[5:7]) - now.month
    return wall_start[:7] if -OLDEST_MONTHS <= ahead <= NEWEST_MONTHS else NO_MONTH
