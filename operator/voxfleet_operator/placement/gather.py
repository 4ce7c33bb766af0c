"""Reads from the cache and the fleet what a placement pass decides on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent
from voxfleet_api.kinds.audio_shard import AttemptRecord, Stage
from voxfleet_api.protocol import AttemptKey, Capability
from voxfleet_operator.cache import key_of
from voxfleet_operator.fleet.mac_view import MacView, attempt_view
from voxfleet_operator.metering.recent_use import added_up, uncounted_use_seconds
from voxfleet_operator.placement.filters import WHOLE_MAC_PHRASES
from voxfleet_operator.placement.snapshot import (
    CONTROL_SLOTS,
    MacSlot,
    NamespaceStanding,
    PendingShard,
    PlacementSnapshot,
)
from voxfleet_operator.placement.waiting import chip_name, pending_shard, placement_job, standings, unfinished
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.job.estimate import ShardTime, held_seconds
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job_life import takes_attempts, wish_of
from voxfleet_operator.reconcile.lost_mac import ContactState
from voxfleet_operator.reconcile.mac.availability import availability
from voxfleet_operator.reconcile.mac.exclusion import known_machine, shown_exclusion
from voxfleet_operator.reconcile.mac.status import lane_memory_bytes, offline_lanes
from voxfleet_operator.reconcile.mac_closing import closing, opens_at
from voxfleet_operator.reconcile.namespace_access import keeps_within_prefixes, knows_chosen_clips
from voxfleet_operator.reconcile.registration import SharedFindings
from voxfleet_operator.reconcile.shard.decide import ShardAction, decide
from voxfleet_operator.reconcile.shard.split import SplitLimits, is_split_due, is_split_due_once_lost, knows_pieces
from voxfleet_operator.reconcile.shard.status import current, is_live, retries_used


@dataclass(frozen=True, slots=True)
class PlacementGatherer:
    context: Context
    findings: SharedFindings

    def gather(self) -> PlacementSnapshot:
        cache, blocked = self.context.cache, self.findings.blockers.jobs()
        shards = [shard for shard in cache.all(AudioShard) if shard.spec.job_ref.uid not in blocked]
        held = HeldSlots.of(shards, self.context.fleet.views())
        jobs = [job for job in cache.all(AudioBatchJob) if takes_attempts(job) and job.metadata.uid not in blocked]
        labels = {name: cache.namespace_labels(name) for name in {job.metadata.namespace for job in jobs}}
        by_job: dict[str, list[AudioShard]] = defaultdict(list)
        for shard in shards:
            by_job[shard.spec.job_ref.uid].append(shard)
        agents_can = knows_pieces(self.context.fleet.views().values())
        pending = tuple(
            item
            for job in jobs
            for item in self._pending_shards(job, by_job[job.metadata.uid], held, agents_can=agents_can)
        )
        now = self.context.now()
        return PlacementSnapshot(
            shards=pending,
            macs=tuple(self.mac_slot(mac, held, now) for mac in cache.all(MacAgent)),
            namespace_labels=labels,
            standings=self._standings(shards, pending, labels, now),
        )

    def may_still_be_replaced(self, job: AudioBatchJob, shard: AudioShard, shards: JobShards) -> bool:
        """Asks again, of what is known by now."""
        agents_can = knows_pieces(self.context.fleet.views().values())
        return self._may_be_replaced(job, shard, self._split_limits(shards, agents_can=agents_can))

    def lost_for_seconds(self, shard: AudioShard, record: AttemptRecord) -> float:
        return self.findings.lease_clock.mac_contact(record, shard.status.lease_seconds or 0).lost_for_seconds

    def _split_limits(self, shards: JobShards, *, agents_can: bool) -> SplitLimits:
        return SplitLimits(self.context.options.retry_limit, len(shards.coverage.superseded), agents_can)

    def _may_be_replaced(self, job: AudioBatchJob, shard: AudioShard, limits: SplitLimits) -> bool:
        """Whether the newest attempt, which is live, is on a lost Mac, so that another Mac may take over."""
        if retries_used(shard.status) >= limits.retry_limit:
            return False
        record = current(shard.status)
        if record is None:
            return False
        contact = self.findings.lease_clock.mac_contact(record, shard.status.lease_seconds or 0)
        if contact.state is not ContactState.LOST:
            return False
        view, wish = attempt_view(record, self.context.fleet.views()), wish_of(job, shard.spec.stage)
        replaced = decide(shard, view, contact.state, wish) is ShardAction.REPLACE
        return replaced and not is_split_due_once_lost(shard, limits)

    def _pending_shards(
        self, job: AudioBatchJob, named: Iterable[AudioShard], held: HeldSlots, *, agents_can: bool
    ) -> Iterable[PendingShard]:
        """`named`: the shards that name the job."""
        shards = JobShards.of(job, named)
        common = placement_job(job, shards, held.job_lanes[job.metadata.uid])
        limits = self._split_limits(shards, agents_can=agents_can)
        plan = job.status.plan
        shard_time = None if plan is None else ShardTime.of(plan, shards.process)
        for shard in unfinished(job, shards):
            uid, replaces_lost = shard.metadata.uid, is_live(shard)
            if self.context.cache.is_assumed(uid):
                continue
            if is_split_due(shard, limits):
                self.context.queue.add(key_of(shard))  # what made it due may not have woken it
                continue
            if replaces_lost and not self._may_be_replaced(job, shard, limits):
                continue
            pause = self.findings.backoffs.shard_until(uid)
            yield pending_shard(
                common,
                shard,
                not_before_seconds=pause,
                replaces_lost=replaces_lost,
                expected_seconds=held_seconds(plan, shard_time, shard),
            )

    def _standings(
        self,
        shards: list[AudioShard],
        pending: tuple[PendingShard, ...],
        labels: Mapping[str, Mapping[str, str]],
        now: datetime,
    ) -> dict[str, NamespaceStanding]:
        statements = self.findings.statements
        used = added_up(uncounted_use_seconds(shards, statements.heads), statements.use_seconds(now))
        return standings(shards, pending, used, labels, now)

    def mac_slot(self, mac: MacAgent, held: HeldSlots, now: datetime) -> MacSlot:
        name = mac.metadata.name
        view = self.context.fleet.view(name)
        lanes = 0 if view.machine is None else offline_lanes(view.machine)
        machine = known_machine(mac, view)
        clock_seconds = self.context.clock()
        exclusion = self.findings.exclusions.of(machine, clock_seconds)
        shown = shown_exclusion(exclusion, mac.status.exclusion, clock_seconds, now)
        available = availability(mac, view, now, shown)
        return MacSlot(
            name=name,
            labels=mac.metadata.labels,
            access=mac.spec.access,
            taints=mac.spec.taints,
            chip=chip_name(view.machine),
            memory_bytes=0 if view.machine is None else view.machine.memory_bytes,
            lane_memory_bytes=None if view.machine is None else lane_memory_bytes(view.machine),
            lacks_scratch=view.machine is not None and view.machine.lacks_scratch,
            keeps_within_prefixes=keeps_within_prefixes(view.machine),
            knows_chosen_clips=knows_chosen_clips(view.machine),
            runs_pieces=view.machine is not None and Capability.SHARD_PIECES in view.machine.capabilities,
            unavailable=None if available.obstacle is None else WHOLE_MAC_PHRASES[available.obstacle],
            detail=available.detail,
            free_lanes=max(0, lanes - len(held.busy_lanes(name, view))),
            free_control_slots=max(0, CONTROL_SLOTS - held.control[name]),
            not_before_seconds=max(
                self.findings.backoffs.mac_until(machine), 0.0 if exclusion is None else exclusion.until_seconds
            ),
            loaded_models=frozenset() if view.machine is None else frozenset(view.machine.loaded_models),
            closes_seconds=self._monotonic(closing(mac, now).return_at, now),
            opens_seconds=self._monotonic(opens_at(mac, now), now),
        )

    def _monotonic(self, moment: datetime | None, now: datetime) -> float | None:
        return None if moment is None else self.context.clock() + (moment - now).total_seconds()


@dataclass(slots=True)
class HeldSlots:
    """What live attempts hold, according to their shards."""

    lanes: dict[str, set[AttemptKey]] = field(default_factory=dict)
    """The Process attempts, each of which holds a lane, by Mac."""
    control: Counter[str] = field(default_factory=Counter)
    """The number of Plan and Finalize attempts, by Mac."""
    job_lanes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, shards: Iterable[AudioShard], views: Mapping[str, MacView]) -> HeldSlots:
        """`shards`: without those of jobs whose attempts cannot be sent, which hold only what their agents report."""
        held = cls()
        for shard in shards:
            record = current(shard.status)
            if record is None or not is_live(shard):
                continue
            view = attempt_view(record, views)
            mac = "" if view is None else view.name  # no MacAgent has less room for it
            if shard.spec.stage is not Stage.PROCESS:
                held.control[mac] += 1
                continue
            key = AttemptKey(shard.metadata.uid, shard.status.attempt or 0)
            held.lanes.setdefault(mac, set()).add(key)
            held.job_lanes[shard.spec.job_ref.uid] += 1
        return held

    def busy_lanes(self, mac: str, view: MacView) -> set[AttemptKey]:
        """The attempts that hold lanes, also as the agent reports: one that was given up may still be cleaning up."""
        reported = {key for key, report in view.attempts.items() if report.lane is not None and not report.has_ended}
        return self.lanes.get(mac, set()) | reported
