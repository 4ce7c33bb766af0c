"""Keeps a session open to a Mac, publishes what it shows, tells it when its attempts have to be over, and deletes
attempts there that belong to no shard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.endpoint_lanes import LaneStatus
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, MachineHourStatement, VoiceEndpoint
from voxfleet_api.kinds.mac_agent import Access
from voxfleet_api.protocol import AttemptStatus
from voxfleet_operator.cache import key_of
from voxfleet_operator.event_reasons import EventReason
from voxfleet_operator.fleet.closing import Closing, ClosingPhase
from voxfleet_operator.fleet.lane_orders import MAX_LANES
from voxfleet_operator.fleet.mac_view import MacView, Order, Outcome
from voxfleet_operator.fleet.verified_row import VerifiedRow
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.exclusions import Exclusions
from voxfleet_operator.reconcile.held_lanes import holding
from voxfleet_operator.reconcile.mac.changes import changes
from voxfleet_operator.reconcile.mac.decide import awaits, is_ahead, left_to_end, orphans, records
from voxfleet_operator.reconcile.mac.exclusion import known_machine, shown_exclusion, stored_exclusion
from voxfleet_operator.reconcile.mac.status import LeftToEnd, mac_status, unseen
from voxfleet_operator.reconcile.mac_closing import closing, next_change
from voxfleet_operator.reconcile.orphan_lanes import orphan_lanes
from voxfleet_operator.reconcile.refusing_macs import FORGET_SECONDS, RefusingMacs
from voxfleet_operator.reconcile.shard.by_machine import ShardsByMachine
from voxfleet_operator.reconcile.status_writer import observe, write_status
from voxfleet_operator.reconcile.stored_statements import StoredStatements
from voxfleet_operator.triggers import endpoints_on

SETTLE_SECONDS = 5.0
"""So long the rows of a removed Mac wait for their statement."""
ARCHIVE_SECONDS = 3600.0
"""So long they wait while the ledger archive does not answer."""
ROWS_POLL_SECONDS = 15.0
"""So often a drained Mac is looked at while its rows are being settled."""
DELETE_POLL_SECONDS = 10.0
"""An answer comes earlier, unless the agent has too much to delete at once."""
AHEAD_NOTE = (
    "has attempts that are newer than what the API server knows of their shards: was it restored from a backup? They"
    " are deleted here, and what they did is done again where their results do not count any more"
)
HOURS_CHECK_SECONDS = 600.0
"""A Mac with opening hours is looked at so often at least: the wall clock may be set meanwhile."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """A Mac as it was when shards were last woken for it."""

    view: MacView
    phase: ClosingPhase
    access: tuple[Access, ...]

    @classmethod
    def of(cls, view: MacView, phase: ClosingPhase, access: tuple[Access, ...]) -> _Shown:
        """Without the rows and attempts of that moment, which nobody needs any more."""
        return cls(replace(view, machine=None, attempts={}, usage={}, rows=(), ladders={}), phase, access)

    @property
    def wakes(self) -> tuple[object, ...]:
        """What wakes shards when it changes."""
        return (self.view.connected, self.view.identity, self.phase, self.access)


@dataclass(slots=True)
class _Removed:
    """A MacAgent that was deleted while rows of it wait."""

    at_seconds: float
    at: datetime
    answered_seconds: float
    """Until when the archive may have been down: rows have a moment from then on."""
    told: bool = False


class MacReconciler:
    def __init__(self, context: Context, exclusions: Exclusions, refusing: RefusingMacs) -> None:
        self._context = context
        self._exclusions = exclusions
        self._refusing = refusing
        self._by_machine = ShardsByMachine(context.cache)
        self._stored = StoredStatements(context.cache)
        self._shown: dict[str, _Shown] = {}
        self._removed: dict[str, _Removed] = {}
        self._known: dict[str, MacAgent] = {}

    async def reconcile(self, key: Key) -> float | None:
        context = self._context
        mac = context.cache.get(MacAgent, "", key.name)
        if mac is None:
            return self._forget(key.name)
        self._removed.pop(key.name, None)
        self._known[key.name] = mac
        context.leader.check()
        if key.name not in self._shown:
            self._take_up_exclusion(mac)  # before its session, and so before anything is placed on it
        context.fleet.ensure(mac)
        now = context.now()
        closes = closing(mac, now)
        context.fleet.close_at(key.name, closes)
        view = context.fleet.view(key.name)
        phase, old = closes.phase(now), self._shown.get(key.name)
        self._wake_waiting_shards(key.name, _Shown.of(view, phase, mac.spec.access))
        clock_seconds = context.clock()
        machine = known_machine(mac, view)
        exclusion, refusing = self._exclusions.of(machine, clock_seconds), self._refusing.of(machine, clock_seconds)
        shown = shown_exclusion(exclusion, mac.status.exclusion, clock_seconds, now)
        counts = mac.spec.drain is not None or phase is ClosingPhase.STOPPED
        left = self._left(view) if counts else LeftToEnd()
        status = mac_status(mac, view, context.timestamp(), shown, left, refusing)
        written = await write_status(context, mac, status)
        if written is None:
            return 0.0
        for told in changes(mac.status, written.status):
            context.events.publish(written, told.reason, told.note)
        was_open = old is not None and old.phase is not ClosingPhase.STOPPED
        if left and was_open and phase is ClosingPhase.STOPPED and not view.connected:
            context.events.publish(written, EventReason.STOPPED_UNSEEN, unseen(left))
        await self._drop_orphan_lanes(view)
        waits = (
            await self._delete_orphans(written, view),
            self._until_change(written),
            ROWS_POLL_SECONDS if mac.spec.drain is not None and not left and view.rows else None,
            None if exclusion is None else max(0.0, exclusion.until_seconds - context.clock()),
            None if refusing is None else max(0.0, refusing.at_seconds + FORGET_SECONDS - context.clock()),
        )
        return min((seconds for seconds in waits if seconds is not None), default=None)

    def _left(self, view: MacView) -> LeftToEnd:
        shards = left_to_end(self._by_machine.of(view), view, self._context.options.control_plane)
        lanes = map(key_of, holding(endpoints_on(view.name, self._context.cache), view))
        return LeftToEnd(shards, tuple(f"{key.namespace}/{key.name}" for key in lanes))

    def _until_change(self, mac: MacAgent) -> float | None:
        """The seconds until the Mac opens or closes."""
        now = self._context.now()
        change = next_change(mac, now)
        return None if change is None else min(HOURS_CHECK_SECONDS, (change - now).total_seconds())

    def _forget(self, name: str) -> float | None:
        """Ends the session of a MacAgent that was deleted, once its last rows had time to get into a statement.

        While the archive does not answer they wait longer, and nothing runs on the Mac meanwhile.
        """
        context, now = self._context, self._context.clock()
        left = self._unsettled(context.fleet.view(name))
        if left:
            removed = self._removed.setdefault(name, _Removed(now, context.now(), now))
            if now - removed.answered_seconds < SETTLE_SECONDS:
                context.queue.add(Key(MachineHourStatement.crd.kind, "", name))
                return SETTLE_SECONDS
            archive = context.archive
            if archive is not None and not archive.answers and now - removed.at_seconds < ARCHIVE_SECONDS:
                removed.answered_seconds = now
                if not removed.told:
                    removed.told = True
                    self._tell_of_left_rows(name, left, "they wait for the archive, for an hour at most")
                context.fleet.close_at(name, Closing(takes_nothing=True, return_at=removed.at, stop_at=removed.at))
                context.queue.add(Key(MachineHourStatement.crd.kind, "", name))
                return ROWS_POLL_SECONDS
            again = "they stay on the Mac: apply the MacAgent again, and drain it before it is deleted"
            self._tell_of_left_rows(name, left, again)
        self._removed.pop(name, None)
        self._known.pop(name, None)
        context.fleet.forget(name)
        self._wake_waiting_shards(name, None)
        return None

    def _unsettled(self, view: MacView) -> Sequence[VerifiedRow]:
        """Those of its rows that no statement counts; the view may have them for a moment longer."""
        pinned = "" if view.identity is None else view.identity.ledger_key
        heads = {
            key: self._stored.head(*key) for key in {(row.ledger_key or pinned, row.chain_id) for row in view.rows}
        }
        return [
            row
            for row in view.rows
            if (head := heads[row.ledger_key or pinned, row.chain_id]) is None or head.sequence < row.sequence
        ]

    def _tell_of_left_rows(self, name: str, left: Sequence[VerifiedRow], what: str) -> None:
        mac = self._known.get(name)
        if mac is not None:
            first, last = left[0], left[-1]
            span = f"{first.chain_id}#{first.sequence} to {last.chain_id}#{last.sequence}"
            note = f"{name} was deleted while {len(left)} rows of it ({span}) are in no statement; {what}"
            self._context.events.publish(mac, EventReason.ROWS_LEFT_BEHIND, note)

    def _take_up_exclusion(self, mac: MacAgent) -> None:
        context, stored = self._context, mac.status.exclusion
        if stored is not None:
            clock_seconds = context.clock()
            machine = known_machine(mac, context.fleet.view(mac.metadata.name))
            self._exclusions.restore(machine, stored_exclusion(stored, clock_seconds, context.now()), clock_seconds)

    def _wake_waiting_shards(self, mac: str, shown: _Shown | None) -> None:
        """Wakes the shards that wait for a Mac when contact comes or goes, when it is another machine, when it calls
        its attempts back, or when it opens something else: what runs there is told. None: it is gone.

        The Mac itself may not know them. Also wakes the settlement of its rows, which a new leader has to begin.
        """
        old = self._shown.pop(mac, None)
        if shown is not None:
            self._shown[mac] = shown
            if old is not None and old.wakes == shown.wakes:
                return
        self._context.queue.add(Key(MachineHourStatement.crd.kind, "", mac))
        seen = [item.view for item in (old, shown) if item is not None]
        for item in seen:
            for shard in self._by_machine.of(item):
                if awaits(shard, item):
                    self._context.queue.add(key_of(shard))

    async def _drop_orphan_lanes(self, view: MacView) -> None:
        context = self._context
        if not context.synced():
            return
        for lane in orphan_lanes(view, lambda uid: context.cache.by_uid(VoiceEndpoint, uid))[:MAX_LANES]:
            answer = view.lanes.get(lane.key)
            if answer is not None and answer.drops:
                continue  # it is being deleted
            if await self._is_wanted(lane, view):
                continue
            context.leader.check()
            context.fleet.drop_lane(view, lane.key)

    async def _is_wanted(self, lane: LaneStatus, mac: MacView) -> bool:
        """Asks the API server: the cache may lag, and loading a lane takes as long as some sessions do."""
        found = await self._context.api.get(VoiceEndpoint, lane.namespace, lane.endpoint)
        if found is None:
            return False
        observe(self._context, found)
        return found.metadata.uid == lane.endpoint_uid and any(known.mac == mac.name for known in found.status.macs)

    async def _delete_orphans(self, mac: MacAgent, view: MacView) -> float | None:
        """Deletes attempts whose AudioShard, or its job, is gone, or that the API server knows nothing of any more.

        What is left to delete is not stored: every pass finds it anew.
        """
        if not view.connected or not self._context.synced():
            return None
        fleet = self._context.fleet
        again: float | None = None
        for report in orphans(view, self._context.options.control_plane, self._recorded):
            again = DELETE_POLL_SECONDS
            key = AttemptKey(report.shard_uid, report.attempt)
            answer = fleet.answer(view, Order.DELETE, key)
            if answer is not None and answer.outcome is not Outcome.GONE:
                continue  # it is being deleted
            if await self._exists(report, view):
                continue
            self._context.leader.check()
            if is_ahead(report, self._context.cache.by_uid(AudioShard, report.shard_uid)):
                self._context.events.publish(mac, EventReason.API_SERVER_RESTORED, AHEAD_NOTE)
            if fleet.delete(view, key) is None:
                break  # the agent has enough to do
        return again

    def _recorded(self, shard_uid: str, attempt: int, mac: MacView) -> bool:
        cache = self._context.cache
        shard = cache.by_uid(AudioShard, shard_uid)
        if shard is None or cache.by_uid(AudioBatchJob, shard.spec.job_ref.uid) is None:
            return False
        return records(shard, attempt, mac)

    async def _exists(self, report: AttemptStatus, mac: MacView) -> bool:
        """Asks the API server: the cache may lag, and a deletion cannot be undone."""
        found = await self._context.api.get(AudioShard, report.namespace, report.shard_name)
        if found is None:
            return False
        observe(self._context, found)
        if found.metadata.uid != report.shard_uid or not records(found, report.attempt, mac):
            return False
        job = await self._context.api.get(AudioBatchJob, report.namespace, found.spec.job_ref.name)
        if job is not None:
            observe(self._context, job)
        return job is not None and job.metadata.uid == found.spec.job_ref.uid
