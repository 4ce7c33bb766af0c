"""What is kept of a ledger row between its verification and its settlement. Pure."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import Self

from voxfleet_api.ledger import Activity, SignedRow
from voxfleet_api.protocol import AttemptKey

_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-")
LONGEST_NAMESPACE = 63
NO_MONTH = "1970-01"
"""The month of a row that a broken clock dated: its time still counts somewhere, and stops no row after it."""


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
    def of(cls, signed: SignedRow, control_plane: str) -> Self:
        row = signed.row
        return cls(
            chain_id=row.chain_id,
            sequence=row.sequence,
            hash=signed.hash,
            month=row.wall_start[:7] if _MONTH.match(row.wall_start) else NO_MONTH,
            attempt=AttemptKey(row.shard_uid, row.attempt),
            ours=row.control_plane == control_plane,
            activity=row.activity,
            machine_milliseconds=row.monotonic_milliseconds,
            audio_milliseconds=row.audio_milliseconds,
            namespace=sys.intern(row.namespace[:LONGEST_NAMESPACE]),
        )
