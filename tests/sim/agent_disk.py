"""What a Mac's agent keeps when its process dies: the journal, with the real chain of signed rows."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.sim.history import History, PaidTime
from tests.sim.object_store import Rows

from voxfleet_agent.attempts.event_feed import attempt_status
from voxfleet_agent.journal.attempt_table import JournaledAttempt
from voxfleet_agent.journal.lane_holds import LaneHold
from voxfleet_agent.ledger import public_key_text, row_of
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.ledger import GENESIS_HASH, ChainHead, SignedRow, sign
from voxfleet_api.protocol import TOMBSTONE_DAYS, AttemptStatus, EventType, LedgerSpan


@dataclass(frozen=True, slots=True)
class TimedHold:
    """A hold, and the metered millisecond at which it began."""

    hold: LaneHold
    began_milliseconds: int


@dataclass
class AgentDisk:
    hardware_id: str
    key: Ed25519PrivateKey
    chain_id: str
    history: History
    attempts: dict[AttemptKey, JournaledAttempt] = field(default_factory=dict)
    tombstones: dict[str, int] = field(default_factory=dict)
    buried: dict[str, datetime] = field(default_factory=dict)
    """When each tombstone was set, the oldest first."""
    control_plane: str | None = None
    epoch: int | None = None
    rows: list[SignedRow] = field(default_factory=list)
    spans: dict[AttemptKey, LedgerSpan] = field(default_factory=dict)
    events: deque[tuple[int, bytes]] = field(default_factory=deque)
    last_event: int = 0
    event_floor: int = 0
    holds: dict[AttemptKey, TimedHold] = field(default_factory=dict)
    recorded: dict[AttemptKey, Rows] = field(default_factory=dict)
    bases: dict[AttemptKey, Rows] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.public_key = public_key_text(self.key)

    def status(self, record: JournaledAttempt) -> AttemptStatus:
        return attempt_status(record, self.spans.get(record.key))

    def save(self, record: JournaledAttempt) -> None:
        self.attempts[record.key] = record
        self._append(EventType.ATTEMPT, "attempt", self.status(record).dump())

    def seal(self, timed: Sequence[TimedHold], attempt: JournaledAttempt) -> bool:
        """Turns the holds of one activity into signed rows and their events; False when they were already sealed."""
        known = self.holds.get(timed[0].hold.key) if timed else None
        if known is None or known.hold.activity != timed[0].hold.activity:
            return False
        del self.holds[known.hold.key]
        for item in timed:
            self._append_row(item, attempt)
        return True

    def _append_row(self, timed: TimedHold, attempt: JournaledAttempt) -> None:
        hold = timed.hold
        head = ChainHead(self.chain_id, len(self.rows) - 1, self.rows[-1].hash if self.rows else GENESIS_HASH)
        signed = sign(row_of(hold, attempt, head, self.hardware_id), self.key)
        self.rows.append(signed)
        first = self.spans[hold.key].first_sequence if hold.key in self.spans else signed.row.sequence
        self.spans[hold.key] = LedgerSpan(
            chain_id=self.chain_id, first_sequence=first, last_sequence=signed.row.sequence
        )
        self._append(EventType.ROW, "row", signed.dump())
        ended = timed.began_milliseconds + hold.milliseconds
        self.history.paid.append(PaidTime(signed, timed.began_milliseconds, ended))

    def forget(self, key: AttemptKey) -> None:
        self.attempts.pop(key, None)
        self.recorded.pop(key, None)
        self.bases.pop(key, None)
        self.spans.pop(key, None)

    def bury(self, key: AttemptKey, now: datetime) -> None:
        uid = key.shard_uid
        self.tombstones[uid] = max(self.tombstones.get(uid, 0), key.attempt)
        self.buried.pop(uid, None)
        self.buried[uid] = now
        while (oldest := next(iter(self.buried))) and self.buried[oldest] < now - timedelta(days=TOMBSTONE_DAYS):
            del self.buried[oldest], self.tombstones[oldest]

    def cursor(self, number: int) -> str:
        return f"{self.chain_id}:{number}"

    def resolve(self, cursor: str) -> int | None:
        """The number in a cursor; None if what follows it is not known here."""
        journal, _, number = cursor.partition(":")
        known = journal == self.chain_id and number.isdecimal() and self.event_floor <= int(number) <= self.last_event
        return int(number) if known else None

    def trim(self, up_to: int) -> None:
        while self.events and self.events[0][0] <= up_to:
            self.events.popleft()
        self.event_floor = max(self.event_floor, up_to)

    def _append(self, kind: EventType, name: str, content: dict[str, object]) -> None:
        self.last_event += 1
        line = {"type": kind.value, "cursor": self.cursor(self.last_event), name: content}
        self.events.append((self.last_event, json.dumps(line).encode() + b"\n"))
