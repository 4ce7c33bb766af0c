"""What follows from one version of a shard alone, worked out once: a large job is looked at again and again. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord, AttemptUsage, Stage
from voxfleet_operator.metering.recent_use import VerifiedTime, verified_times
from voxfleet_operator.reconcile.shard.pieces import path_of
from voxfleet_operator.reconcile.shard.status import (
    chip_of_work,
    concerns_job,
    current,
    is_committed,
    is_failed,
    is_superseded,
)


@dataclass(frozen=True, slots=True)
class ShardFacts:
    shard: AudioShard
    uid: str
    stage: Stage
    ordinal: int
    path: str
    """Of a part of a planned shard; empty for all of it."""
    is_committed: bool
    is_failed: bool
    is_superseded: bool
    concerns_job: bool
    newest: AttemptRecord | None
    """The record of the newest attempt."""
    assigned_at: str | None
    chip: str | None
    """Of the oldest attempt that may have worked."""
    committing: AttemptUsage | None
    """The verified machine time of the attempt with the result."""
    times: tuple[VerifiedTime, ...]

    @classmethod
    def of(cls, shard: AudioShard) -> ShardFacts:
        spec, status = shard.spec, shard.status
        return cls(
            shard,
            shard.metadata.uid,
            spec.stage,
            spec.ordinal or 0,
            path_of(shard),
            is_committed(shard),
            is_failed(shard),
            is_superseded(shard),
            concerns_job(shard),
            current(status),
            status.assigned_at,
            chip_of_work(shard),
            _committing(shard),
            verified_times((shard,)),
        )

    @property
    def is_live(self) -> bool:
        return self.newest is not None and self.newest.outcome is AttemptOutcome.ASSIGNED

    @property
    def is_process(self) -> bool:
        return self.stage is Stage.PROCESS


def _committing(shard: AudioShard) -> AttemptUsage | None:
    commit = shard.status.commit
    if commit is None:
        return None
    usages = (record.usage for record in shard.status.attempts if record.attempt == commit.attempt)
    return next((usage for usage in usages if usage is not None and usage.machine_milliseconds), None)
