"""What a job brings to a placement pass, as its objects alone say, at whatever time and whatever Macs say. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord
from voxfleet_operator.cache import key_of
from voxfleet_operator.metering.recent_use import VerifiedTime, verified_times
from voxfleet_operator.placement.snapshot import JobNeeds, PendingShard, PlacementJob
from voxfleet_operator.placement.waiting import LaneHistory, pending_shard, placement_job, unfinished
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.job.estimate import ShardTime, held_seconds
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job_life import takes_attempts
from voxfleet_operator.reconcile.shard.split import SplitLimits, is_split_due
from voxfleet_operator.reconcile.shard.status import current


@dataclass(frozen=True, slots=True)
class LiveShard:
    """A shard that another Mac takes over if the Mac of its attempt is lost."""

    shard: AudioShard
    record: AttemptRecord
    following: PendingShard
    """The attempt that would follow."""


@dataclass(frozen=True, slots=True)
class OpenJob:
    """A job whose shards may be assigned to Macs."""

    job: AudioBatchJob
    limits: SplitLimits
    waiting: Mapping[str, PendingShard] = field(default_factory=dict)
    """By UID: the shards that need an attempt and have none."""
    live: tuple[LiveShard, ...] = ()
    due_to_split: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class JobWork:
    shards: JobShards
    lanes: LaneHistory
    times: tuple[VerifiedTime, ...]
    """The machine time that its shards list."""
    common: PlacementJob | None = None
    """None: the job is gone, but not all of its shards."""
    open: OpenJob | None = None


@dataclass(frozen=True, slots=True)
class WorkMaker:
    retry_limit: int
    one_of_equals: Callable[[JobNeeds], JobNeeds]
    is_assumed: Callable[[str], bool]
    """Whether a shard, by UID, is being assigned."""

    def make(
        self, job: AudioBatchJob | None, owned: Sequence[AudioShard], before: JobWork | None, *, agents_can: bool
    ) -> JobWork:
        """`owned`: at least one. `before`: what was known of the job: what is the same, the same objects stand for.
        `agents_can`: whether shards may be split.
        """
        lanes, times = LaneHistory.of(owned[0].metadata.namespace, owned), verified_times(owned)
        if job is None:
            return JobWork(JobShards(()), lanes, times)
        shards = JobShards.of(job, owned, None if before is None else before.shards)
        common = placement_job(job, shards)
        common = replace(common, needs=self.one_of_equals(common.needs))
        if before is not None and common == before.common:
            common = before.common
        if not takes_attempts(job):
            return JobWork(shards, lanes, times, common)
        limits = SplitLimits(self.retry_limit, len(shards.coverage.superseded), agents_can)
        return JobWork(shards, lanes, times, common, self._opened(job, shards, common, limits, before))

    def _opened(
        self,
        job: AudioBatchJob,
        shards: JobShards,
        common: PlacementJob,
        limits: SplitLimits,
        before: JobWork | None,
    ) -> OpenJob:
        plan = job.status.plan
        time = None if plan is None else ShardTime.of(plan, shards.process)
        known = {} if before is None or before.open is None else before.open.waiting
        same = frozenset(map(id, () if before is None else before.shards.all))
        waiting: dict[str, PendingShard] = {}
        live: list[LiveShard] = []
        due_to_split: list[Key] = []
        for shard in unfinished(job, shards):
            uid = shard.metadata.uid
            if self.is_assumed(uid):
                continue
            if is_split_due(shard, limits):
                due_to_split.append(key_of(shard))
                continue
            expected_seconds, record = held_seconds(plan, time, shard), current(shard.status)
            if record is not None and record.outcome is AttemptOutcome.ASSIGNED:
                following = pending_shard(common, shard, replaces_lost=True, expected_seconds=expected_seconds)
                live.append(LiveShard(shard, record, following))
                continue
            found = known.get(uid) if id(shard) in same else None
            if found is None or found.job is not common or found.expected_seconds != expected_seconds:
                found = pending_shard(common, shard, expected_seconds=expected_seconds)
            waiting[uid] = found
        return OpenJob(job, limits, waiting, tuple(live), tuple(due_to_split))
