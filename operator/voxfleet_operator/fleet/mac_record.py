"""What is known about one Mac: takes the agent's messages and gives immutable views. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import Reason
from voxfleet_api.endpoint_lanes import LaneKey
from voxfleet_api.kinds.audio_shard import AttemptUsage, MachineIdentity
from voxfleet_api.ledger import SignedRow
from voxfleet_api.machine_messages import MachineFacts
from voxfleet_api.protocol import (
    MAX_REPORTED_LADDERS,
    AttemptState,
    AttemptStatus,
    LadderList,
    ReportedLadder,
    ShardProgress,
)
from voxfleet_operator.fleet.ledger_book import CheckedRows, LedgerBook
from voxfleet_operator.fleet.mac_view import LaneAnswer, MacView
from voxfleet_operator.fleet.older_chains import StoredHead


class MacRecord:
    """One Mac's record. Its methods return the UIDs of the shards whose attempts or usage have changed.

    Progress changes the view and nothing else: no reconciler reads it.

    An attempt shows as terminal only once its machine-hour rows are verified. Until then it keeps its state, or shows
    as Finishing if it is new, so that it is not settled without its usage.
    """

    def __init__(self, name: str, control_plane: str, book: LedgerBook) -> None:
        self.book = book
        self._name = name
        self._control_plane = control_plane
        self._attempts: dict[AttemptKey, AttemptStatus] = {}
        self._waiting: dict[AttemptKey, AttemptStatus] = {}
        self._usage: Mapping[AttemptKey, AttemptUsage] = MappingProxyType({})
        self._ladders_revision: str | None = None
        self._view = MacView(
            name, connected=False, reason=Reason.CONNECTING, message="the first connection is under way"
        )

    @property
    def view(self) -> MacView:
        return self._view

    @property
    def lacks_rows(self) -> bool:
        """Whether attempts wait for rows that have not arrived yet."""
        return bool(self._waiting)

    def has_all_rows(self, key: AttemptKey) -> bool:
        """Whether the attempt is known to have ended, and all its rows are verified: its Mac signs no more of them."""
        status = self._attempts.get(key)
        return status is not None and status.has_ended and key not in self._waiting

    def connection_changed(self, connected: bool, reason: Reason, message: str) -> set[str] | None:
        """None if nothing is new; else, if contact came or went, the shards with attempts that may still be running."""
        old = self._view
        if (old.connected, old.reason, old.message) == (connected, reason, message):
            return None
        self._render(connected=connected, reason=reason, message=message)
        if old.connected == connected:
            return set()
        return {key.shard_uid for key, status in self._attempts.items() if not status.has_ended}

    def identified(self, identity: MachineIdentity) -> None:
        """Takes which machine it is; a record is about one machine."""
        self._render(identity=identity)

    def machine_reported(self, machine: MachineFacts) -> bool:
        """Takes the facts about the machine; returns whether any changed that a reconciler reads."""
        old = self._view.machine
        if machine == old:
            return False
        self._render(machine=machine)
        return old is None or _decisive_facts(machine) != _decisive_facts(old)

    @property
    def lacks_ladders(self) -> bool:
        """Whether the facts name another revision of the Mac's ladders than what was last taken."""
        facts = self._view.machine
        return facts is not None and facts.ladders_revision not in (None, self._ladders_revision)

    def ladders_reported(self, listed: LadderList) -> None:
        """Takes the ladders of the revision that the facts name. They change no decision at once."""
        facts = self._view.machine
        self._ladders_revision = None if facts is None else facts.ladders_revision
        own = {
            (ladder.model_digest, ladder.contract_digest): ladder
            for ladder in reversed(listed.ladders[:MAX_REPORTED_LADDERS])  # of two, the newer one stays
            if facts is not None and ladder.profile == facts.ladder_profile
        }
        self._render(ladders=MappingProxyType(own))

    def deletions_hang(self, keys: tuple[AttemptKey, ...]) -> bool:
        """Takes which ones do; returns whether that is new."""
        if keys == self._view.hung_deletions:
            return False
        self._render(hung_deletions=keys)
        return True

    def lanes_answered(self, lanes: Mapping[LaneKey, LaneAnswer]) -> None:
        """Takes the newest answers about all interactive lanes that the Mac is to hold or to drop."""
        self._render(lanes=MappingProxyType(dict(lanes)))

    def attempts_listed(self, listed: Iterable[AttemptStatus]) -> set[str]:
        """Takes the complete list of attempts: an attempt that it lacks is gone."""
        old, self._attempts, self._waiting = self._attempts, {}, {}
        for status in listed:
            if status.control_plane == self._control_plane:
                key = AttemptKey(status.shard_uid, status.attempt)
                if key in old:
                    self._attempts[key] = old[key]
                self._store(key, status)
        self._render()
        return {
            key.shard_uid
            for key in old.keys() | self._attempts.keys()
            if _news(old.get(key)) != _news(self._attempts.get(key))
        }

    def attempt_reported(self, status: AttemptStatus) -> set[str]:
        if status.control_plane != self._control_plane:
            return set()
        key = AttemptKey(status.shard_uid, status.attempt)
        old = self._attempts.get(key)
        if _is_outdated(status, self._waiting.get(key, old)):
            return set()
        self._store(key, status)
        self._render()
        return set() if _news(self._attempts[key]) == _news(old) else {key.shard_uid}

    def attempt_accepted(self, status: AttemptStatus) -> set[str]:
        """Takes the answer to a PUT, unless the attempt is known: an event may have overtaken it."""
        known = AttemptKey(status.shard_uid, status.attempt) in self._attempts
        return set() if known or status.has_ended else self.attempt_reported(status)

    def attempt_gone(self, key: AttemptKey) -> set[str]:
        self._waiting.pop(key, None)
        if self._attempts.pop(key, None) is None:
            return set()
        self._render()
        return {key.shard_uid}

    def rows_delivered(self, rows: Iterable[SignedRow]) -> set[str]:
        """Verifies and takes rows that follow the newest verified one."""
        return self.rows_checked(self.book.check(rows, self.book.head))

    def rows_checked(self, checked: CheckedRows) -> set[str]:
        """Takes rows that the book has checked, perhaps in a thread."""
        changed = {key.shard_uid for key in self.book.take(checked)}
        return changed | self._release()

    def older_rows_checked(self, checked: CheckedRows) -> set[str]:
        """Takes rows of a chain behind the current one."""
        changed = {key.shard_uid for key in self.book.take_older(checked)}
        return changed | self._release()

    def rows_settled(self, pinned_key: str, stored_head: StoredHead) -> None:
        """Forgets the rows up to the stored head of their chain, also of one that a reinstalled agent left behind."""
        unsettled = self.book.rows
        for key, chain_id in {(row.ledger_key or pinned_key, row.chain_id) for row in unsettled}:
            if (head := stored_head(key, chain_id)) is not None:
                self.book.settled(head)
        if self.book.rows is not unsettled:
            self._release()

    def rows_are_left(self) -> None:
        """There is no room for the rows that follow, so an attempt that waits for them goes on waiting."""
        if not self._view.rows_left:
            self._render(rows_left=True)

    def rows_exhausted(self) -> set[str]:
        """The agent has no more rows now, so an attempt that still waits names rows that do not exist."""
        if self._view.rows_left:
            self._render(rows_left=False)
        for key, status in self._waiting.items():
            if status.ledger is not None:
                self.book.refuse_span(key, status.ledger)
                break
        return self._release()

    def _store(self, key: AttemptKey, status: AttemptStatus) -> None:
        if status.has_ended and status.ledger is not None and not self.book.covers(status.ledger):
            self._waiting[key] = status
            self._attempts.setdefault(key, status.model_copy(update={"state": AttemptState.FINISHING, "ended": False}))
        else:
            self._waiting.pop(key, None)
            self._attempts[key] = status

    def _release(self) -> set[str]:
        self._usage = MappingProxyType(dict(self.book.usage))
        ready = [
            key for key, status in self._waiting.items() if status.ledger is None or self.book.covers(status.ledger)
        ]
        for key in ready:
            self._attempts[key] = self._waiting.pop(key)
        self._render()
        return {key.shard_uid for key in ready}

    def _render(
        self,
        *,
        connected: bool | None = None,
        reason: Reason | None = None,
        message: str | None = None,
        identity: MachineIdentity | None = None,
        machine: MachineFacts | None = None,
        ladders: Mapping[tuple[str, str], ReportedLadder] | None = None,
        hung_deletions: tuple[AttemptKey, ...] | None = None,
        rows_left: bool | None = None,
        lanes: Mapping[LaneKey, LaneAnswer] | None = None,
    ) -> None:
        old = self._view
        self._view = MacView(
            name=self._name,
            connected=old.connected if connected is None else connected,
            reason=reason or old.reason,
            message=old.message if message is None else message,
            identity=identity or old.identity,
            machine=machine or old.machine,
            attempts=MappingProxyType(dict(self._attempts)),
            usage=self._usage,
            rows=self.book.rows,
            ledger_error=self.book.error,
            older_errors=self.book.older_errors,
            rows_left=old.rows_left if rows_left is None else rows_left,
            ladders=old.ladders if ladders is None else ladders,
            hung_deletions=old.hung_deletions if hung_deletions is None else hung_deletions,
            lanes=old.lanes if lanes is None else lanes,
        )


def _is_outdated(status: AttemptStatus, known: AttemptStatus | None) -> bool:
    """Whether an event from before tells less than is known: lists of many pages are newer than their cursor."""
    if known is None or not known.has_ended or status.has_ended:
        return False
    return status.state is not AttemptState.DELETING and status.spec_digest == known.spec_digest


def _news(status: AttemptStatus | None) -> AttemptStatus | None:
    """What of a status is news to a reconciler; the rest moves while an attempt works."""
    if status is None or status.has_ended:
        return status
    return status.model_copy(update={"progress": ShardProgress(), "scratch_high_water_bytes": 0})


UNDECISIVE: Mapping[str, object] = {
    "ledger_sequence": 0,
    "ladders_revision": None,
    "scratch_reserved_bytes": None,
    "scratch_quota_bytes": None,
}


def _decisive_facts(machine: MachineFacts) -> MachineFacts:
    """The facts without those that move with work."""
    pools = tuple(pool.model_copy(update={"free_lanes": 0}) for pool in machine.pools)
    lanes = tuple(lane.key for lane in machine.endpoint_lanes)
    return machine.model_copy(update={**UNDECISIVE, "pools": pools, "endpoint_lanes": lanes})
