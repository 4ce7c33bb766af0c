"""The verified machine-hour rows of one Mac, added up by attempt. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from voxfleet_api.kinds.audio_shard import AttemptUsage
from voxfleet_api.ledger import Activity, ChainHead, LedgerError, LedgerRow, SignedRow, verify
from voxfleet_api.protocol import AttemptKey, LedgerSpan

_ACTIVITY_FIELDS = {
    Activity.SETUP: "setup_milliseconds",
    Activity.WORK: "work_milliseconds",
    Activity.CLEANUP: "cleanup_milliseconds",
}


class LedgerBook:
    """Follows the Mac's chain from its first row. Stops counting at the first row that fails verification."""

    def __init__(self, key: Ed25519PublicKey, control_plane: str) -> None:
        self._key = key
        self._control_plane = control_plane
        self._head: ChainHead | None = None
        self.usage: dict[AttemptKey, AttemptUsage] = {}
        self.error: str | None = None

    @property
    def last_sequence(self) -> int:
        """The number of the newest verified row; -1 before the first."""
        return -1 if self._head is None else self._head.sequence

    def resume(self, chain_id: str, newest_sequence: int) -> None:
        """Starts over with a new chain (of a reinstalled agent), or continues the known one.

        If the chain is shorter than what was verified, the agent has lost rows or was restored from an old copy.
        """
        self.error = None
        if self._head is None or self._head.chain_id != chain_id:
            self._head = ChainHead(chain_id)
            # A chain that comes back is read again from its first row, and no row may count twice.
            self.usage = {key: usage for key, usage in self.usage.items() if usage.chain_id != chain_id}
        elif newest_sequence < self._head.sequence:
            self.error = str(
                LedgerError(
                    f"{chain_id}#{self._head.sequence}",
                    f"was verified, but the agent now ends at {newest_sequence}; was its state restored from a copy?",
                )
            )

    def add(self, rows: Iterable[SignedRow]) -> set[AttemptKey]:
        """Verifies the next rows and returns the attempts whose usage grew; sets `error` at a bad row."""
        changed: set[AttemptKey] = set()
        for signed in rows:
            if self.error is not None:
                break
            try:
                self._head = verify([signed], self._key, self._head)
            except LedgerError as error:
                self.error = str(error)
            else:
                if signed.row.control_plane == self._control_plane:
                    changed.add(self._count(signed.row))
        return changed

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

    def _count(self, row: LedgerRow) -> AttemptKey:
        key = AttemptKey(row.shard_uid, row.attempt)
        usage = self.usage.get(key)
        if usage is None or usage.chain_id != row.chain_id:
            usage = AttemptUsage(chain_id=row.chain_id, first_sequence=row.sequence, last_sequence=row.sequence, rows=0)
        field = _ACTIVITY_FIELDS[row.activity]
        self.usage[key] = usage.model_copy(
            update={
                "last_sequence": row.sequence,
                "rows": usage.rows + 1,
                field: getattr(usage, field) + row.monotonic_milliseconds,
                "audio_milliseconds": usage.audio_milliseconds + row.audio_milliseconds,
            }
        )
        return key
