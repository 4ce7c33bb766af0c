"""The verified machine-hour rows of one Mac that are not settled yet, added up by attempt. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from voxfleet_api.kinds.audio_shard import AttemptUsage
from voxfleet_api.ledger import Activity, ChainHead, LedgerError, SignedRow, verify
from voxfleet_api.protocol import AttemptKey, LedgerSpan
from voxfleet_operator.fleet.verified_row import VerifiedRow

_ACTIVITY_FIELDS = {
    Activity.SETUP: "setup_milliseconds",
    Activity.WORK: "work_milliseconds",
    Activity.CLEANUP: "cleanup_milliseconds",
}


@dataclass(frozen=True, slots=True)
class CheckedRows:
    """Rows that follow a head, as far as they verify."""

    after: ChainHead | None
    head: ChainHead | None
    rows: tuple[VerifiedRow, ...]
    error: str | None
    """Names the first row that does not verify."""


class LedgerBook:
    """Follows the Mac's chain from its stored head. Stops counting at the first row that fails verification.

    It holds what is not settled: a row and its attempt's usage leave it once a statement counts them.
    """

    def __init__(self, key: Ed25519PublicKey, control_plane: str, now: Callable[[], datetime]) -> None:
        self._key = key
        self._control_plane = control_plane
        self._now = now
        self._head: ChainHead | None = None
        self.usage: dict[AttemptKey, AttemptUsage] = {}
        self.rows: tuple[VerifiedRow, ...] = ()
        self.error: str | None = None

    @property
    def head(self) -> ChainHead | None:
        """The newest verified row; None before there is a chain."""
        return self._head

    @property
    def last_sequence(self) -> int:
        """The number of the newest verified row; -1 before the first."""
        return -1 if self._head is None else self._head.sequence

    def resume(self, chain_id: str, newest_sequence: int, stored: ChainHead | None = None) -> None:
        """Starts with another chain (of a reinstalled agent) behind its stored head, or continues the known one.

        If the chain is shorter than what was verified, the agent has lost rows or was restored from an old copy.
        """
        self.error = None
        if self._head is None or self._head.chain_id != chain_id:
            self._head = stored or ChainHead(chain_id)
            # A chain that comes back is read again from its stored head, and no row may count twice.
            self.rows = tuple(row for row in self.rows if row.chain_id != chain_id)
            self.usage = {}
            for row in self.rows:
                self._count(row)
        if newest_sequence < self._head.sequence:
            self.error = str(
                LedgerError(
                    f"{chain_id}#{self._head.sequence}",
                    f"was verified, but the agent now ends at {newest_sequence}; was its state restored from a copy?",
                )
            )

    def add(self, rows: Iterable[SignedRow]) -> set[AttemptKey]:
        """Verifies the next rows and returns the attempts whose usage grew; sets `error` at a bad row."""
        return self.take(self.check(rows, self._head))

    def check(self, rows: Iterable[SignedRow], after: ChainHead | None) -> CheckedRows:
        """Verifies the rows that follow `after` and changes nothing, so that a thread may do it: a row takes 0.1 ms.

        The head is the caller's, because the book may have gone on before a thread begins.
        """
        head = after
        now = self._now()
        good: list[VerifiedRow] = []
        for signed in rows:
            try:
                verified = verify([signed], self._key, head)
                good.append(VerifiedRow.of(signed, self._control_plane, now))
            except LedgerError as error:
                return CheckedRows(after, head, tuple(good), str(error))
            head = verified
        return CheckedRows(after, head, tuple(good), None)

    def take(self, checked: CheckedRows) -> set[AttemptKey]:
        """Counts rows that were checked, and returns the attempts whose usage grew; sets `error` at a bad row.

        Rows that do not follow the newest one any more are left out: whoever reads rows asks for the next ones.
        """
        if self.error is not None or checked.after != self._head:
            return set()
        self._head, self.error = checked.head, checked.error
        self.rows += checked.rows
        return {key for key in map(self._count, checked.rows) if key is not None}

    def settled(self, head: ChainHead) -> None:
        """Forgets the rows up to a stored head, and the usage of attempts without any other.

        What the rows said is by now in the status of their shards and in a statement.
        """
        left = tuple(row for row in self.rows if row.chain_id != head.chain_id or row.sequence > head.sequence)
        if len(left) == len(self.rows):
            return
        for key in {row.attempt for row in self.rows} - {row.attempt for row in left}:
            self.usage.pop(key, None)
        self.rows = left

    def covers(self, span: LedgerSpan) -> bool:
        """Whether there is nothing to wait for: the span is verified, or never will be.

        It never will be if its chain is an older one or the ledger has an error.
        """
        if self.error is not None or self._head is None or span.chain_id != self._head.chain_id:
            return True
        return span.last_sequence <= self._head.sequence

    def refuse_damaged(self, chain_id: str, sequence: int) -> None:
        """Records that the agent has this row, but it can no longer be read, or not by this version."""
        message = "was changed and is no row any more, or is a newer agent's: upgrade the operator then"
        self.error = str(LedgerError(f"{chain_id}#{sequence}", message))

    def refuse_span(self, key: AttemptKey, span: LedgerSpan) -> None:
        """Records that the agent names rows that it does not deliver."""
        self.error = str(
            LedgerError(
                f"{span.chain_id}#{span.last_sequence}",
                f"is named by shard {key.shard_uid}, attempt {key.attempt}, but the chain ends at {self.last_sequence}",
            )
        )

    def _count(self, row: VerifiedRow) -> AttemptKey | None:
        """An attempt that goes on after its agent has lost its state has rows of two chains. All count, and the span is
        that of the newer one.
        """
        if not row.ours:
            return None
        key = row.attempt
        usage = self.usage.get(key)
        if usage is None:
            usage = AttemptUsage(chain_id=row.chain_id, first_sequence=row.sequence, last_sequence=row.sequence, rows=0)
        elif usage.chain_id != row.chain_id:
            usage = usage.model_copy(update={"chain_id": row.chain_id, "first_sequence": row.sequence})
        field = _ACTIVITY_FIELDS[row.activity]
        self.usage[key] = usage.model_copy(
            update={
                "last_sequence": row.sequence,
                "rows": usage.rows + 1,
                field: getattr(usage, field) + row.machine_milliseconds,
                "audio_milliseconds": usage.audio_milliseconds + row.audio_milliseconds,
            }
        )
        return key
