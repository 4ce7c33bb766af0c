"""Reads from the cache and the fleet what a placement pass decides on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.protocol import AttemptKey, Capability
from voxfleet_operator.cache import key_of
from voxfleet_operator.fleet.mac_view import MacView, attempt_view
from voxfleet_operator.placement.filters import WHOLE_MAC_PHRASES
from voxfleet_operator.placement.snapshot import (
    CONTROL_SLOTS,
    MacSlot,
    PendingShard,
    PlacementJob,
    PlacementSnapshot,
)
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job_life import JobWish, takes_attempts, wish_of
from voxfleet_operator.reconcile.lost_mac import ContactState
from voxfleet_operator.reconcile.mac.availability import availability
from voxfleet_operator.reconcile.mac.exclusion import known_machine, shown_exclusion
from voxfleet_operator.reconcile.mac.status import offline_lanes
from voxfleet_operator.reconcile.namespace_access import keeps_within_prefixes, names_clips_elsewhere
from voxfleet_operator.reconcile.registration import SharedFindings
from voxfleet_operator.reconcile.shard.decide import ShardAction, decide
from voxfleet_operator.reconcile.shard.mutations import mac_to_avoid
from voxfleet_operator.reconcile.shard.pieces import attempts_before
from voxfleet_operator.reconcile.shard.split import SplitLimits, is_split_due, is_split_due_once_lost, knows_pieces
from voxfleet_operator.reconcile.shard.status import current, is_committed, is_failed, is_live, retries_used


@dataclass(frozen=True, slots=True)
class PlacementGatherer:
    context: Context
    findings: SharedFindings

    def gather(self) -> PlacementSnapshot:
        cache, blocked = self.context.cache, self.findings.blockers.jobs()
        held = HeldSlots.of(cache.all(AudioShard), blocked, self.context.fleet.views())
        jobs = [job for job in cache.all(AudioBatchJob) if takes_attempts(job) and job.metadata.uid not in blocked]
        namespaces = {job.metadata.namespace for job in jobs}
        agents_can = knows_pieces(self.context.fleet.views().values())
        return PlacementSnapshot(
            shards=tuple(shard for job in jobs for shard in self._pending_shards(job, held, agents_can=agents_can)),
            macs=tuple(self._mac_slot(mac, held) for mac in cache.all(MacAgent)),
            namespace_labels={name: cache.namespace_labels(name) for name in namespaces},
            held_lanes=held.namespace_lanes,
        )

    def may_still_be_replaced(self, job: AudioBatchJob, shard: AudioShard, shards: JobShards) -> bool:
        """Asks again, of what is known by now."""
        agents_can = knows_pieces(self.context.fleet.views().values())
        return self._may_be_replaced(job, shard, self._split_limits(shards, agents_can=agents_can))

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

    def _pending_shards(self, job: AudioBatchJob, held: HeldSlots, *, agents_can: bool) -> Iterable[PendingShard]:
        shards = JobShards.of(job, self.context.cache.owned_by(AudioShard, job.metadata.uid))
        common = placement_job(job, held.job_lanes[job.metadata.uid])
        limits = self._split_limits(shards, agents_can=agents_can)
        others = (shard for shard in shards.all if shard.spec.stage is not Stage.PROCESS)
        for shard in (*others, *shards.process):
            if self.context.cache.is_assumed(shard.metadata.uid):
                continue
            if wish_of(job, shard.spec.stage) is not JobWish.WORK:
                continue
            if shard.spec.stage is Stage.PROCESS and (shards.halted or job.status.plan is None):
                continue
            replaces_lost = is_live(shard)
            if is_committed(shard) or is_failed(shard):
                continue
            if is_split_due(shard, limits):
                self.context.queue.add(key_of(shard))  # what made it due may not have woken it
                continue
            if replaces_lost and not self._may_be_replaced(job, shard, limits):
                continue
            yield PendingShard(
                uid=shard.metadata.uid,
                name=shard.metadata.name,
                job=common,
                stage=shard.spec.stage,
                ordinal=shard.spec.ordinal or 0,
                next_attempt=attempts_before(shard) + 1,
                is_piece=shard.spec.piece is not None,
                avoid=mac_to_avoid(shard.status.attempts),
                not_before_seconds=self.findings.backoffs.shard_until(shard.metadata.uid),
                replaces_lost=replaces_lost,
            )

    def _mac_slot(self, mac: MacAgent, held: HeldSlots) -> MacSlot:
        name = mac.metadata.name
        view = self.context.fleet.view(name)
        lanes = 0 if view.machine is None else offline_lanes(view.machine)
        machine = known_machine(mac, view)
        clock_seconds = self.context.clock()
        exclusion = self.findings.exclusions.of(machine, clock_seconds)
        shown = shown_exclusion(exclusion, mac.status.exclusion, clock_seconds, self.context.now())
        available = availability(mac, view, shown)
        return MacSlot(
            name=name,
            labels=mac.metadata.labels,
            access=mac.spec.access,
            keeps_within_prefixes=keeps_within_prefixes(view.machine),
            runs_pieces=view.machine is not None and Capability.SHARD_PIECES in view.machine.capabilities,
            unavailable=None if available.obstacle is None else WHOLE_MAC_PHRASES[available.obstacle],
            detail=available.detail,
            free_lanes=max(0, lanes - len(held.busy_lanes(name, view))),
            free_control_slots=max(0, CONTROL_SLOTS - held.control[name]),
            not_before_seconds=max(
                self.findings.backoffs.mac_until(machine), 0.0 if exclusion is None else exclusion.until_seconds
            ),
            loaded_models=frozenset() if view.machine is None else frozenset(view.machine.loaded_models),
        )


@dataclass(slots=True)
class HeldSlots:
    """What live attempts hold, according to their shards."""

    lanes: dict[str, set[AttemptKey]] = field(default_factory=dict)
    """The Process attempts, each of which holds a lane, by Mac."""
    control: Counter[str] = field(default_factory=Counter)
    """The number of Plan and Finalize attempts, by Mac."""
    job_lanes: Counter[str] = field(default_factory=Counter)
    namespace_lanes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, shards: Iterable[AudioShard], blocked: AbstractSet[str], views: Mapping[str, MacView]) -> HeldSlots:
        """`blocked` are UIDs of jobs whose attempts cannot be sent: those hold only what their agents report."""
        held = cls()
        for shard in shards:
            record = current(shard.status)
            if record is None or not is_live(shard) or shard.spec.job_ref.uid in blocked:
                continue
            view = attempt_view(record, views)
            mac = "" if view is None else view.name  # no MacAgent has less room for it
            if shard.spec.stage is not Stage.PROCESS:
                held.control[mac] += 1
                continue
            key = AttemptKey(shard.metadata.uid, shard.status.attempt or 0)
            held.lanes.setdefault(mac, set()).add(key)
            held.job_lanes[shard.spec.job_ref.uid] += 1
            held.namespace_lanes[shard.metadata.namespace] += 1
        return held

    def busy_lanes(self, mac: str, view: MacView) -> set[AttemptKey]:
        """The attempts that hold lanes, also as the agent reports: one that was given up may still be cleaning up."""
        reported = {key for key, report in view.attempts.items() if report.lane is not None and not report.has_ended}
        return self.lanes.get(mac, set()) | reported


def placement_job(job: AudioBatchJob, live_lanes: int) -> PlacementJob:
    return PlacementJob(
        uid=job.metadata.uid,
        namespace=job.metadata.namespace,
        name=job.metadata.name,
        created=job.metadata.creation_timestamp,
        uris=job.spec.uris(),
        parallelism=job.spec.parallelism,
        live_lanes=live_lanes,
        mac_selector=job.spec.mac_selector,
        model_digest=None if job.status.plan is None else job.status.plan.model_digest,
        names_clips_elsewhere=names_clips_elsewhere(job.spec),
    )
