"""The verified machine-hour rows of one Mac that are not settled yet, added up by attempt. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.kinds.audio_shard import AttemptUsage
from voxfleet_api.ledger import Activity, ChainHead, LedgerError, SignedRow, public_key, verify
from voxfleet_api.protocol import MAX_LISTED_CHAINS, LedgerSpan
from voxfleet_operator.fleet.older_chains import OlderChain
from voxfleet_operator.fleet.verified_row import VerifiedRow

_ACTIVITY_FIELDS: Mapping[str, str] = {
    Activity.SETUP: "setup_milliseconds",
    Activity.WORK: "work_milliseconds",
    Activity.CLEANUP: "cleanup_milliseconds",
}
_OTHER_ACTIVITY_FIELD = "setup_milliseconds"
"""Of an activity that only newer agents know: overhead, as setup is."""
RESTORED = (
    "was its state restored from a copy? What it signs from there on is not counted. Stop the agent, run"
    " `voxfleet-agent ledger new-chain`, and start it"
)


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
        self.older_errors: tuple[str, ...] = ()
        """Of the chains behind the current one: the first row of each that does not verify."""

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
            self.older_errors = ()
            # A chain that comes back is read again from its stored head, and no row may count twice.
            self.rows = tuple(row for row in self.rows if row.chain_id != chain_id)
            self.usage = {}
            for row in self.rows:
                self._count(row)
        if newest_sequence < self._head.sequence:
            self.error = str(
                LedgerError(
                    f"{chain_id}#{self._head.sequence}",
                    f"was verified, but the agent now ends at {newest_sequence}; {RESTORED}",
                )
            )

    def compare_head(self, served: SignedRow | None) -> None:
        """Takes what the agent has under the number of the newest verified row; another row there is a fork."""
        head = self._head
        if self.error is None and head is not None and served is not None and served.hash != head.hash:
            self.error = str(LedgerError(f"{head.chain_id}#{head.sequence}", f"is another one than before; {RESTORED}"))

    def add(self, rows: Iterable[SignedRow]) -> set[AttemptKey]:
        """Verifies the next rows and returns the attempts whose usage grew; sets `error` at a bad row."""
        return self.take(self.check(rows, self._head))

    def check(self, rows: Iterable[SignedRow], after: ChainHead | None, older: OlderChain | None = None) -> CheckedRows:
        """Verifies the rows that follow `after` and changes nothing, so that a thread may do it: a row takes 0.1 ms.

        The head is the caller's, because the book may have gone on before a thread begins. `older`: the chain behind
        the current one that the rows are of.
        """
        head = after
        now = self._now()
        key, key_text = (self._key, "") if older is None else (public_key(older.ledger_key), older.ledger_key)
        good: list[VerifiedRow] = []
        for signed in rows:
            try:
                verified = verify([signed], key, head)
                good.append(VerifiedRow.of(signed, self._control_plane, now, key_text))
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

    def take_older(self, checked: CheckedRows) -> set[AttemptKey]:
        """Counts rows of a chain behind the current one. A bad row ends that chain, and nothing else.

        They may be read again after a break, while they wait: then they are here, and count once.
        """
        if checked.error is not None and checked.error not in self.older_errors:
            self.older_errors = (*self.older_errors, checked.error)[-MAX_LISTED_CHAINS:]
        if not checked.rows:
            return set()
        chain_id = checked.rows[0].chain_id
        of_chain = [row for row in self.rows if row.chain_id == chain_id]
        others = tuple(row for row in self.rows if row.chain_id != chain_id)
        last = of_chain[-1].sequence if of_chain else -1
        new = [row for row in checked.rows if row.sequence > last]
        self.rows = (*of_chain, *new, *others)  # each chain in its order, and the current one last
        self.usage = {}
        for row in self.rows:
            self._count(row)
        return {row.attempt for row in new if _is_of_attempt(row)}

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
        # Rows follow each other, whatever number is left of the damaged one.
        self.error = damaged(chain_id, max(sequence, self.last_sequence + 1))

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
        if not _is_of_attempt(row):
            return None
        key = row.attempt
        usage = self.usage.get(key)
        if usage is None:
            usage = AttemptUsage(chain_id=row.chain_id, first_sequence=row.sequence, last_sequence=row.sequence, rows=0)
        elif usage.chain_id != row.chain_id:
            usage = usage.model_copy(update={"chain_id": row.chain_id, "first_sequence": row.sequence})
        field = _ACTIVITY_FIELDS.get(row.activity, _OTHER_ACTIVITY_FIELD)
        self.usage[key] = usage.model_copy(
            update={
                "last_sequence": row.sequence,
                "rows": usage.rows + 1,
                "last_hash": row.hash,
                field: getattr(usage, field) + row.machine_milliseconds,
                "audio_milliseconds": usage.audio_milliseconds + row.audio_milliseconds,
            }
        )
        return key


def _is_of_attempt(row: VerifiedRow) -> bool:
    """Whether a shard waits for the row."""
    return row.ours and not row.is_of_endpoint


def damaged(chain_id: str, sequence: int) -> str:
    """What is said of a row that cannot be read."""
    message = "was changed and is no row any more, or is a newer agent's: upgrade the operator then"
    return str(LedgerError(f"{chain_id}#{sequence}", message))
