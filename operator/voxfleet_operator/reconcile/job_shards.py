"""The shards of one job: their names, their bodies, and where they stand together. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from voxfleet_api import API_VERSION
from voxfleet_api.clip_limits import beyond_halt
from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.ranges import encode
from voxfleet_operator.reconcile.shard_state import concerns_job, is_committed, is_failed, is_live

JOB_LABEL = "voxfleet.dev/job"
STAGE_LABEL = "voxfleet.dev/stage"


def shard_name(job_name: str, stage: Stage, ordinal: int | None = None) -> str:
    """Deterministic: whoever creates a shard twice creates it once."""
    if ordinal is not None:
        return f"{job_name}-{ordinal:05d}"
    return f"{job_name}-{stage.value.lower()}"


@dataclass(frozen=True, slots=True)
class NewShard:
    stage: Stage
    ordinal: int | None = None


def shard_body(job: AudioBatchJob, new: NewShard) -> dict[str, object]:
    spec: dict[str, object] = {
        "jobRef": {"name": job.metadata.name, "uid": job.metadata.uid},
        "stage": new.stage.value,
    }
    if new.ordinal is not None and job.status.plan is not None:
        first, end = job.status.plan.boundaries[new.ordinal : new.ordinal + 2]
        spec |= {"ordinal": new.ordinal, "indexes": encode(range(first, end))}
    owner = {
        "apiVersion": API_VERSION,
        "kind": job.crd.kind,
        "name": job.metadata.name,
        "uid": job.metadata.uid,
        "controller": True,
    }
    return {
        "apiVersion": API_VERSION,
        "kind": AudioShard.crd.kind,
        "metadata": {
            "name": shard_name(job.metadata.name, new.stage, new.ordinal),
            "namespace": job.metadata.namespace,
            "labels": {JOB_LABEL: job.metadata.name, STAGE_LABEL: new.stage.value},
            "ownerReferences": [owner],
        },
        "spec": spec,
    }


def belongs(shard: AudioShard, job: AudioBatchJob) -> bool:
    """Whether the operator made this shard for this job; any other is ignored."""
    controlled = any(owner.controller and owner.uid == job.metadata.uid for owner in shard.metadata.owner_references)
    expected = shard_name(job.metadata.name, shard.spec.stage, shard.spec.ordinal)
    return controlled and shard.spec.job_ref.uid == job.metadata.uid and shard.metadata.name == expected


@dataclass(frozen=True)
class JobShards:
    """All shards of a job, by stage."""

    all: tuple[AudioShard, ...]
    halt_percent: int | None = None
    """The contract's quarantine.haltFanOutPercent."""

    @classmethod
    def of(cls, job: AudioBatchJob, shards: Iterable[AudioShard]) -> JobShards:
        contract = job.status.contract
        return cls(
            tuple(shard for shard in shards if belongs(shard, job)),
            None if contract is None else contract.spec.quarantine.halt_fan_out_percent,
        )

    @cached_property
    def plan(self) -> AudioShard | None:
        return next((shard for shard in self.all if shard.spec.stage is Stage.PLAN), None)

    @cached_property
    def process(self) -> tuple[AudioShard, ...]:
        found = [shard for shard in self.all if shard.spec.stage is Stage.PROCESS]
        return tuple(sorted(found, key=lambda shard: shard.spec.ordinal or 0))

    @cached_property
    def finalize(self) -> AudioShard | None:
        return next((shard for shard in self.all if shard.spec.stage is Stage.FINALIZE), None)

    @cached_property
    def halted(self) -> bool:
        """No Process shard gets a new attempt: what failed one lies in the job or its clips, or Finalize has begun."""
        return (
            self.finalize is not None
            or any(concerns_job(shard) for shard in self.process)
            or self.quarantined_beyond_halt is not None
        )

    @cached_property
    def quarantined_beyond_halt(self) -> tuple[int, int] | None:
        """(quarantined, finished) clips of the committed shards once they are beyond `halt_percent`."""
        counts = (shard.status.clips for shard in self.process if is_committed(shard))
        return beyond_halt((clips for clips in counts if clips is not None), self.halt_percent)

    def missing_ordinals(self, total: int) -> tuple[int, ...]:
        present = {shard.spec.ordinal for shard in self.process}
        return tuple(ordinal for ordinal in range(total) if ordinal not in present)

    def processed(self, total: int) -> bool:
        """Whether no Process shard has an attempt now or will get one."""
        if not self.halted and self.missing_ordinals(total):
            return False
        return all(
            is_committed(shard) or is_failed(shard) or (self.halted and not is_live(shard)) for shard in self.process
        )
