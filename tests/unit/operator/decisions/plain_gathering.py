"""What a placement pass decides on, read from all objects in one go: slow, plain, and without anything that is kept."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_operator.fleet.mac_view import attempt_view
from voxfleet_operator.metering.recent_use import added_up, uncounted_use_seconds
from voxfleet_operator.placement.snapshot import CONTROL_SLOTS, NamespaceStanding, PendingShard
from voxfleet_operator.placement.waiting import lane_histories, pending_shard, placement_job, standings, unfinished
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.job.estimate import ShardTime, held_seconds
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job_life import takes_attempts, wish_of
from voxfleet_operator.reconcile.lost_mac import ContactState
from voxfleet_operator.reconcile.mac.reported_machine import offline_lanes
from voxfleet_operator.reconcile.registration import SharedFindings
from voxfleet_operator.reconcile.shard.decide import ShardAction, decide
from voxfleet_operator.reconcile.shard.split import SplitLimits, is_split_due, is_split_due_once_lost, knows_pieces
from voxfleet_operator.reconcile.shard.status import current, is_live, retries_used


@dataclass
class PlainGathering:
    context: Context
    findings: SharedFindings

    def __post_init__(self) -> None:
        blocked = self.findings.blockers.jobs()
        self.views = self.context.fleet.views()
        self.shards = [shard for shard in self.context.cache.all(AudioShard) if shard.spec.job_ref.uid not in blocked]
        self.jobs = [
            job
            for job in self.context.cache.all(AudioBatchJob)
            if takes_attempts(job) and job.metadata.uid not in blocked
        ]

    def pending(self) -> Iterator[PendingShard]:
        owned = defaultdict(list)
        for shard in self.shards:
            owned[shard.spec.job_ref.uid].append(shard)
        agents_can, pauses = knows_pieces(self.views.values()), self.findings.backoffs.shard_pauses()
        for job in self.jobs:
            shards = JobShards.of(job, owned[job.metadata.uid])
            limits = SplitLimits(self.context.options.retry_limit, len(shards.coverage.superseded), agents_can)
            plan, common = job.status.plan, placement_job(job, shards)
            time = None if plan is None else ShardTime.of(plan, shards.process)
            for found in unfinished(job, shards):
                shard, uid = found.shard, found.uid
                if self.context.cache.is_assumed(uid) or is_split_due(shard, limits):
                    continue
                if is_live(shard) and not self._is_lost(job, shard, limits):
                    continue
                yield pending_shard(
                    common,
                    found,
                    not_before_seconds=pauses.get(uid, 0.0),
                    replaces_lost=is_live(shard),
                    expected_seconds=held_seconds(plan, time, shard),
                )

    def room(self) -> dict[str, tuple[int, int]]:
        """Free lanes and control slots, by Mac."""
        lanes: dict[str, set[AttemptKey]] = defaultdict(set)
        control: Counter[str] = Counter()
        for shard in self.shards:
            record = current(shard.status)
            view = None if record is None or not is_live(shard) else attempt_view(record, self.views)
            if record is None or view is None:
                continue
            if shard.spec.stage is Stage.PROCESS:
                lanes[view.name].add(AttemptKey(shard.metadata.uid, record.attempt))
            else:
                control[view.name] += 1
        found = {}
        for name in (mac.metadata.name for mac in self.context.cache.all(MacAgent)):
            view = self.context.fleet.view(name)
            lanes[name] |= {
                key for key, report in view.attempts.items() if report.lane is not None and not report.has_ended
            }
            offered = 0 if view.machine is None else offline_lanes(view.machine)
            found[name] = max(0, offered - len(lanes[name])), max(0, CONTROL_SLOTS - control[name])
        return found

    def live_lanes(self) -> Mapping[str, int]:
        process = (shard for shard in self.shards if shard.spec.stage is Stage.PROCESS)
        return Counter(shard.spec.job_ref.uid for shard in process if is_live(shard))

    def standings(self) -> dict[str, NamespaceStanding]:
        statements, now = self.findings.statements, self.context.now()
        used = added_up(uncounted_use_seconds(self.shards, statements.heads), statements.use_seconds(now))
        labels = self.context.cache.labels_by_namespace()
        return standings(lane_histories(self.shards), self.pending(), used, labels, now)

    def _is_lost(self, job: AudioBatchJob, shard: AudioShard, limits: SplitLimits) -> bool:
        record = current(shard.status)
        if record is None or retries_used(shard.status) >= limits.retry_limit:
            return False
        contact = self.findings.lease_clock.mac_contact(record, shard.status.lease_seconds or 0)
        action = decide(shard, attempt_view(record, self.views), contact.state, wish_of(job, shard.spec.stage))
        return (
            contact.state is ContactState.LOST
            and action is ShardAction.REPLACE
            and not is_split_due_once_lost(shard, limits)
        )
