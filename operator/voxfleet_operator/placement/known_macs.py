"""The Macs as a placement pass sees them. Each is looked at anew once something of it has changed."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from datetime import datetime

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord, MachineIdentity, Stage
from voxfleet_api.machine_messages import Capability
from voxfleet_api.protocol import AttemptStatus
from voxfleet_operator.fleet.mac_view import MacView, attempt_view, stands_for
from voxfleet_operator.placement.filters import UNACCEPTED, WHOLE_MAC_PHRASES
from voxfleet_operator.placement.one_of_equals import OneOfEquals
from voxfleet_operator.placement.snapshot import CONTROL_SLOTS, MacSlot, MacTraits
from voxfleet_operator.placement.waiting import chip_name
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.exclusions import Exclusion
from voxfleet_operator.reconcile.mac.availability import Obstacle, availability
from voxfleet_operator.reconcile.mac.exclusion import known_machine, shown_exclusion
from voxfleet_operator.reconcile.mac.reported_machine import lane_memory_bytes, offline_lanes
from voxfleet_operator.reconcile.mac_closing import closing, opens_at, steady_until
from voxfleet_operator.reconcile.namespace_access import keeps_within_prefixes, knows_chosen_clips
from voxfleet_operator.reconcile.refusing_macs import Refusing
from voxfleet_operator.reconcile.registration import SharedFindings
from voxfleet_operator.reconcile.shard.by_machine import ShardsByMachine
from voxfleet_operator.reconcile.shard.status import current


@dataclass(frozen=True, slots=True)
class _Look:
    """What a Mac is, whatever works on it. It holds while what it was made of is the same."""

    mac: MacAgent
    shown: MacView
    """What matters of its view: the rest is of one moment, and would be kept for as long as the look holds."""
    exclusion: Exclusion | None
    refusing: Refusing | None
    """While it pauses."""
    from_moment: datetime
    until: datetime | None
    """None: for good."""
    traits: MacTraits
    detail: str
    lanes: int
    loaded_models: frozenset[str]
    closes_at: datetime | None
    opens_at: datetime | None

    def holds(
        self,
        mac: MacAgent,
        view: MacView,
        exclusion: Exclusion | None,
        refusing: Refusing | None,
        now: datetime,
    ) -> bool:
        if self.mac is not mac or self.exclusion is not exclusion or self.refusing is not refusing:
            return False
        if self.until is not None and not self.from_moment <= now < self.until:
            return False
        return _shows_the_same(self.shown, view)


@dataclass(slots=True)
class _KnownMac:
    look: _Look
    version: tuple[int, int]
    """Of the shards that wait for its machine."""
    attempts: Mapping[AttemptKey, AttemptStatus]
    busy_lanes: int
    busy_control_slots: int
    slot: MacSlot


class KnownMacs:
    """All MacAgents; one that is gone is forgotten with the next look."""

    def __init__(self, context: Context, findings: SharedFindings) -> None:
        self._context = context
        self._findings = findings
        self._by_machine = ShardsByMachine(context.cache)
        self._traits: OneOfEquals[MacTraits] = OneOfEquals()
        self._known: dict[str, _KnownMac] = {}
        self._identities: dict[str, MachineIdentity | None] = {}
        self._blocked: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self._known)

    def slots(self, blocked: Set[str], now: datetime) -> tuple[MacSlot, ...]:
        """`blocked`: jobs whose attempts cannot be sent. They hold only what agents report."""
        context, before = self._context, self._known
        clock_seconds = context.clock()
        macs = context.cache.all(MacAgent)
        views = {mac.metadata.name: context.fleet.view(mac.metadata.name) for mac in macs}
        stale = self._is_other_machine(views) or blocked != self._blocked
        self._blocked = frozenset(blocked)
        self._known = {}
        for mac in macs:
            name = mac.metadata.name
            known = None if stale else before.get(name)
            look = self._look(mac, views[name], before.get(name), clock_seconds, now)
            self._known[name] = self._with_room(name, look, views[name], known, clock_seconds, now)
        return tuple([known.slot for known in self._known.values()])

    def machines_in_contact(self) -> Mapping[str, MachineIdentity | None]:
        """By the Mac's name, as of the last look."""
        return {name: known.look.shown.identity for name, known in self._known.items() if known.look.shown.connected}

    def _is_other_machine(self, views: Mapping[str, MacView]) -> bool:
        """Whether a Mac came, went or turned out to be another machine, so that it is unknown who holds what."""
        before, self._identities = self._identities, {name: view.identity for name, view in views.items()}
        return before.keys() != views.keys() or any(
            before[name] is not identity and before[name] != identity for name, identity in self._identities.items()
        )

    def _look(
        self, mac: MacAgent, view: MacView, known: _KnownMac | None, clock_seconds: float, now: datetime
    ) -> _Look:
        machine_id = known_machine(mac, view)
        exclusion = self._findings.exclusions.of(machine_id, clock_seconds)
        refusing = self._findings.refusing.of(machine_id, clock_seconds)
        if refusing is not None and refusing.until_seconds <= clock_seconds:
            refusing = None  # it is tried again
        if known is not None and known.look.holds(mac, view, exclusion, refusing, now):
            return known.look
        shown = replace(view, attempts={}, usage={}, rows=(), ladders={})
        excluded = shown_exclusion(exclusion, mac.status.exclusion, clock_seconds, now)
        available, machine = availability(mac, shown, now, excluded, refusing), shown.machine
        unaccepted = available.obstacle is Obstacle.UNACCEPTED
        traits = MacTraits(
            access=mac.spec.access,
            taints=mac.spec.taints,
            chip=chip_name(machine),
            memory_bytes=0 if machine is None else machine.memory_bytes,
            lane_memory_bytes=None if machine is None else lane_memory_bytes(machine),
            has_offline_lanes=machine is None or offline_lanes(machine) > 0,
            lacks_scratch=machine is not None and machine.lacks_scratch,
            keeps_within_prefixes=keeps_within_prefixes(machine),
            knows_chosen_clips=knows_chosen_clips(machine),
            runs_pieces=machine is not None and Capability.SHARD_PIECES in machine.capabilities,
            tried_by=None if mac.spec.acceptance_job is None else mac.spec.acceptance_job.uid,
            unavailable=None if unaccepted or available.obstacle is None else WHOLE_MAC_PHRASES[available.obstacle],
            unaccepted=UNACCEPTED if unaccepted else None,
            drains=mac.spec.drain is not None,
        )
        is_shown = exclusion is None or excluded is mac.status.exclusion
        return _Look(
            mac,
            shown,
            exclusion,
            refusing,
            from_moment=now,
            until=steady_until(mac, now) if is_shown else now,  # until status has it, its time moves with the clocks
            traits=self._traits.of(traits),
            detail=available.detail,
            lanes=0 if machine is None else offline_lanes(machine),
            loaded_models=frozenset() if machine is None else frozenset(machine.loaded_models),
            closes_at=closing(mac, now).return_at,
            opens_at=opens_at(mac, now),
        )

    def _with_room(
        self,
        name: str,
        look: _Look,
        view: MacView,
        known: _KnownMac | None,
        clock_seconds: float,
        now: datetime,
    ) -> _KnownMac:
        version = self._by_machine.version(view)
        if known is None or known.version != version or known.attempts is not view.attempts:
            lanes, control_slots = self._busy(view)
        else:
            lanes, control_slots = known.busy_lanes, known.busy_control_slots
        pause_seconds = self._pause_seconds(look, view)
        moves = look.closes_at is not None or look.opens_at is not None
        if (
            known is not None
            and not moves
            and known.look is look
            and (known.busy_lanes, known.busy_control_slots) == (lanes, control_slots)
            and known.slot.not_before_seconds == pause_seconds
        ):
            known.version, known.attempts = version, view.attempts
            return known
        slot = MacSlot(
            name,
            look.traits,
            look.mac.metadata.labels,
            look.detail,
            free_lanes=max(0, look.lanes - lanes),
            free_control_slots=max(0, CONTROL_SLOTS - control_slots),
            not_before_seconds=pause_seconds,
            loaded_models=look.loaded_models,
            closes_seconds=_monotonic(look.closes_at, clock_seconds, now),
            opens_seconds=_monotonic(look.opens_at, clock_seconds, now),
        )
        return _KnownMac(look, version, view.attempts, lanes, control_slots, slot)

    def _pause_seconds(self, look: _Look, view: MacView) -> float:
        excluded_seconds = 0.0 if look.exclusion is None else look.exclusion.until_seconds
        refuses_seconds = 0.0 if look.refusing is None else look.refusing.until_seconds
        machine = known_machine(look.mac, view)
        return max(self._findings.backoffs.mac_until(machine), excluded_seconds, refuses_seconds)

    def _busy(self, view: MacView) -> tuple[int, int]:
        """The lanes and the control slots that attempts hold, by shards and by what the agent reports.

        An attempt that was given up may still be cleaning up.
        """
        lanes = {key for key, report in view.attempts.items() if report.lane is not None and not report.has_ended}
        control_slots = 0
        for shard in self._by_machine.of(view):
            record = current(shard.status)
            if record is None or record.outcome is not AttemptOutcome.ASSIGNED:
                continue
            if shard.spec.job_ref.uid in self._blocked:
                continue
            if not self._is_on(view, record):
                continue
            if shard.spec.stage is Stage.PROCESS:
                lanes.add(AttemptKey(shard.metadata.uid, record.attempt))
            else:
                control_slots += 1
        return len(lanes), control_slots

    def _is_on(self, view: MacView, record: AttemptRecord) -> bool:
        if record.mac == view.name:
            return stands_for(view, record)
        found = attempt_view(record, self._context.fleet.views())
        return found is not None and found.name == view.name


def _shows_the_same(old: MacView, new: MacView) -> bool:
    """As far as it matters to what a Mac is."""
    return (
        old.connected == new.connected
        and old.identity is new.identity
        and old.machine is new.machine
        and old.reason == new.reason
        and old.message == new.message
        and old.ledger_error == new.ledger_error
        and old.hung_deletions == new.hung_deletions
    )


def _monotonic(moment: datetime | None, clock_seconds: float, now: datetime) -> float | None:
    return None if moment is None else clock_seconds + (moment - now).total_seconds()
