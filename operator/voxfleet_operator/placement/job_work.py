"""What a job brings to a placement pass, as its objects alone say, at whatever time and whatever Macs say. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_api.kinds.audio_shard import AttemptRecord, Stage
from voxfleet_operator.cache import key_of
from voxfleet_operator.metering.recent_use import VerifiedTime
from voxfleet_operator.placement.snapshot import JobNeeds, PendingShard, PlacementJob
from voxfleet_operator.placement.waiting import (
    LaneHistory,
    SaidByShards,
    pending_shard,
    placement_job_of,
    unfinished,
)
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.job.estimate import ShardTime, held_seconds, held_seconds_of
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job_life import takes_attempts
from voxfleet_operator.reconcile.shard.facts import ShardFacts
from voxfleet_operator.reconcile.shard.split import SplitLimits, is_split_due


@dataclass(frozen=True, slots=True)
class LiveShard:
    """A shard that another Mac takes over if the Mac of its attempt is lost."""

    facts: ShardFacts
    record: AttemptRecord
    expected_seconds: float | None


@dataclass(frozen=True, slots=True)
class OpenJob:
    """A job whose shards may be assigned to Macs."""

    job: AudioBatchJob
    common: PlacementJob
    limits: SplitLimits
    waiting: Mapping[str, PendingShard] = field(default_factory=dict)
    """By UID: the shards that need an attempt and have none."""
    live: tuple[LiveShard, ...] = ()
    due_to_split: tuple[Key, ...] = ()

    def following(self, live: LiveShard) -> PendingShard:
        """The attempt that takes over from a lost Mac."""
        return pending_shard(self.common, live.facts, replaces_lost=True, expected_seconds=live.expected_seconds)


@dataclass(frozen=True, slots=True)
class JobWork:
    shards: JobShards
    lanes: LaneHistory
    times: tuple[VerifiedTime, ...]
    """The machine time that its shards list."""
    job: AudioBatchJob | None = None
    """None: it is gone, but not all of its shards."""
    said: SaidByShards | None = None
    common: PlacementJob | None = None
    """What follows from these two."""
    open: OpenJob | None = None


@dataclass(frozen=True, slots=True)
class WorkMaker:
    retry_limit: int
    one_of_equals: Callable[[JobNeeds], JobNeeds]
    is_assumed: Callable[[str], bool]
    """Whether a shard, by UID, is being assigned."""
    facts_of: Callable[[AudioShard], ShardFacts]

    def make(
        self, job: AudioBatchJob | None, owned: Sequence[AudioShard], before: JobWork | None, *, agents_can: bool
    ) -> JobWork:
        """`owned`: at least one. `before`: what was known of the job: what is the same, the same objects stand for.
        `agents_can`: whether shards may be split.
        """
        if job is None:
            return _of_job_that_is_gone(tuple(map(self.facts_of, owned)))
        shards = JobShards.of(job, owned, self.facts_of)
        lanes = LaneHistory.of(job.metadata.namespace, shards.facts)
        times = tuple(chain.from_iterable(found.times for found in shards.facts if found.times))
        said = SaidByShards.of(job, shards)
        common = self._common(job, said, before)
        if not takes_attempts(job):
            return JobWork(shards, lanes, times, job, said, common)
        limits = SplitLimits(self.retry_limit, len(shards.coverage.superseded), agents_can)
        return JobWork(shards, lanes, times, job, said, common, self._opened(job, shards, common, limits, before))

    def _common(self, job: AudioBatchJob, said: SaidByShards, before: JobWork | None) -> PlacementJob:
        known = None if before is None else before.common
        if before is not None and known is not None and before.job is job and before.said == said:
            return known
        common = placement_job_of(job, said)
        common = replace(common, needs=self.one_of_equals(common.needs))
        return known if known is not None and common == known else common

    def _opened(
        self,
        job: AudioBatchJob,
        shards: JobShards,
        common: PlacementJob,
        limits: SplitLimits,
        before: JobWork | None,
    ) -> OpenJob:
        plan = job.status.plan
        time = None if plan is None else ShardTime.of_facts(plan, shards.coverage.covering)
        known = {} if before is None or before.open is None else before.open.waiting
        same = frozenset(map(id, () if before is None else before.shards.facts))
        waiting: dict[str, PendingShard] = {}
        live: list[LiveShard] = []
        due_to_split: list[Key] = []
        whole_seconds = held_seconds_of(plan, time, Stage.PROCESS, 0, "")
        for facts in unfinished(job, shards):
            shard, uid = facts.shard, facts.uid
            if self.is_assumed(uid):
                continue
            is_whole = facts.is_process and not facts.path
            expected_seconds = whole_seconds if is_whole else held_seconds(plan, time, shard)
            if facts.newest is not None:
                if facts.is_live:
                    live.append(LiveShard(facts, facts.newest, expected_seconds))
                    continue
                if is_split_due(shard, limits):
                    due_to_split.append(key_of(shard))
                    continue
            found = known.get(uid)
            if (
                found is None
                or found.job is not common
                or found.expected_seconds != expected_seconds
                or id(facts) not in same
            ):
                found = pending_shard(common, facts, expected_seconds=expected_seconds)
            waiting[uid] = found
        return OpenJob(job, common, limits, waiting, tuple(live), tuple(due_to_split))


def _of_job_that_is_gone(facts: Sequence[ShardFacts]) -> JobWork:
    lanes = LaneHistory.of(facts[0].shard.metadata.namespace, facts)
    return JobWork(JobShards(()), lanes, tuple(chain.from_iterable(found.times for found in facts)))
