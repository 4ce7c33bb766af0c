"""Which lanes a job may count on: those of all Macs that placement would give it, once they are free."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_operator.placement.filters import has_access, static_reason
from voxfleet_operator.placement.gather import HeldSlots, PlacementGatherer
from voxfleet_operator.placement.snapshot import MacSlot
from voxfleet_operator.placement.waiting import placement_job
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job_life import halted_condition, is_suspended, takes_attempts
from voxfleet_operator.reconcile.known_ladders import ladders_by_profile
from voxfleet_operator.reconcile.lane_outlook import LaneOutlook
from voxfleet_operator.reconcile.mac.status import offline_lanes

SHARED_SECONDS = 5.0
"""How long what all jobs share is taken as it was. An estimate need not be newer."""


@dataclass(frozen=True, slots=True)
class _Demand:
    """A job that has work for lanes."""

    uid: str
    namespace: str
    rank: tuple[int, str, str]
    """The lower one gets lanes first: by priority, then by age."""
    left_seconds: float


@dataclass(slots=True)
class LaneOutlooks:
    context: Context
    gatherer: PlacementGatherer
    _slots: tuple[MacSlot, ...] = ()
    _demands: tuple[_Demand, ...] = ()
    _shared_at_seconds: float = field(default=-inf)

    def of(self, job: AudioBatchJob, model_digest: str) -> LaneOutlook:
        cache = self.context.cache
        labels = cache.namespace_labels(job.metadata.namespace)
        common = placement_job(job, JobShards.of(job, cache.owned_by(AudioShard, job.metadata.uid)), live_lanes=0)
        views, contract = self.context.fleet.views(), job.status.contract
        ladders = {} if contract is None else ladders_by_profile(views, model_digest, contract.digest)
        self._look_at_what_is_shared()
        lanes = measured_lanes = measured = 0
        closing_seconds: list[float] = []
        now = self.context.clock()
        for slot in self._slots:
            facts = views[slot.name].machine if slot.name in views else None
            if facts is None or static_reason(common, slot, has_access=has_access(common, slot, labels)) is not None:
                continue
            count = offline_lanes(facts)
            lanes += count
            if slot.closes_seconds is not None:
                closing_seconds += [max(0.0, slot.closes_seconds - now)] * count
            ladder = ladders.get(facts.ladder_profile or "")
            if ladder is not None and ladder.audio_milliseconds_per_second:
                measured_lanes += count
                measured += count * ladder.audio_milliseconds_per_second
        namespaces, ahead_seconds = self._others(job)
        return LaneOutlook(
            lanes=lanes,
            audio_milliseconds_per_second=measured / measured_lanes if measured_lanes else None,
            namespaces=namespaces,
            ahead_seconds=ahead_seconds,
            closing_seconds=tuple(closing_seconds),
        )

    def _look_at_what_is_shared(self) -> None:
        now, cache = self.context.clock(), self.context.cache
        if now - self._shared_at_seconds < SHARED_SECONDS:
            return
        held, moment = HeldSlots(), self.context.now()
        self._slots = tuple(self.gatherer.mac_slot(mac, held, moment) for mac in cache.all(MacAgent))
        self._demands = tuple(
            _Demand(job.metadata.uid, job.metadata.namespace, _rank(job), _left_seconds(job))
            for job in cache.all(AudioBatchJob)
            if _wants_lanes(job)
        )
        self._shared_at_seconds = now

    def _others(self, job: AudioBatchJob) -> tuple[int, float]:
        """How many namespaces have work for lanes, and the machine time that jobs before this one still need."""
        own, rank = job.metadata.namespace, _rank(job)
        ahead_seconds = sum(
            other.left_seconds
            for other in self._demands
            if other.namespace == own and other.rank < rank and other.uid != job.metadata.uid
        )
        return len({own, *(other.namespace for other in self._demands)}), ahead_seconds


def _wants_lanes(job: AudioBatchJob) -> bool:
    status = job.status
    return (
        takes_attempts(job)
        and not is_suspended(job)
        and halted_condition(job) is None
        and status.plan is not None
        and status.finalize_time is None
        and status.shards.committed < status.shards.total
    )


def _left_seconds(job: AudioBatchJob) -> float:
    """As the job's own estimate says; 0 for one that has none yet."""
    estimate = job.status.estimate
    if estimate is None:
        return 0.0
    return max(0.0, estimate.machine_seconds - seconds_milliseconds(job.status.usage.machine_seconds) / 1000)


def _rank(job: AudioBatchJob) -> tuple[int, str, str]:
    return -job.spec.priority, job.metadata.creation_timestamp, job.metadata.name
