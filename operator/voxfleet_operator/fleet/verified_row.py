"""What is kept of a ledger row between its verification and its settlement. Pure."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from voxfleet_api.ledger import Activity, LedgerError, SignedRow
from voxfleet_api.protocol import AttemptKey

_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-")
LONGEST_NAMESPACE = 63
NO_MONTH = "1970-01"
"""The month of a row that a broken clock dated: its time still counts somewhere, and stops no row after it."""
OLDEST_MONTHS, NEWEST_MONTHS = 24, 1
"""Before and after the month in which a row is read. Each month of a Mac is a statement, of which there are no more."""
LONGEST_ROW_MILLISECONDS = 31 * 24 * 3600 * 1000
"""Of one activity of one attempt."""
MOST_AUDIO_MILLISECONDS = 1000 * LONGEST_ROW_MILLISECONDS


@dataclass(frozen=True, slots=True)
class VerifiedRow:
    chain_id: str
    sequence: int
    hash: str
    month: str
    """In UTC, such as 2026-11: when the row begins."""
    attempt: AttemptKey
    ours: bool
    """Whether it belongs to this control plane. Rows of others are links of the chain and nothing else."""
    activity: Activity
    machine_milliseconds: int
    audio_milliseconds: int
    namespace: str = ""
    """The job's, cut to what a namespace's name can have."""

    @classmethod
    def of(cls, signed: SignedRow, control_plane: str, now: datetime) -> Self:
        """Raises LedgerError for more time or audio than a row can stand for."""
        row = signed.row
        if row.monotonic_milliseconds > LONGEST_ROW_MILLISECONDS or row.audio_milliseconds > MOST_AUDIO_MILLISECONDS:
            raise LedgerError(signed.name, "stands for more time or audio than one attempt can have taken")
        return cls(
            chain_id=row.chain_id,
            sequence=row.sequence,
            hash=signed.hash,
            month=_month(row.wall_start, now),
            attempt=AttemptKey(row.shard_uid, row.attempt),
            ours=row.control_plane == control_plane,
            activity=row.activity,
            machine_milliseconds=row.monotonic_milliseconds,
            audio_milliseconds=row.audio_milliseconds,
            namespace=sys.intern(row.namespace[:LONGEST_NAMESPACE]),
        )


def _month(wall_start: str, now: datetime) -> str:
    if not _MONTH.match(wall_start):
        return NO_MONTH
    ahead = (int(wall_start[:4]) - now.year) * 12 + int(wall_start[5:7]) - now.month
    return wall_start[:7] if -OLDEST_MONTHS <= ahead <= NEWEST_MONTHS else NO_MONTH
