"""What follows from one version of a shard alone, worked out once: a large job is looked at again and again. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord, AttemptUsage, Stage
from voxfleet_api.ranges import count
from voxfleet_operator.metering.recent_use import VerifiedTime, verified_times
from voxfleet_operator.reconcile.shard.mutations import mac_to_avoid
from voxfleet_operator.reconcile.shard.new_shard import made_for
from voxfleet_operator.reconcile.shard.pieces import attempts_before, path_of
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
    job: tuple[str, str] | None
    """UID and name of the job for which the operator made it; None of a shard that others made."""
    stage: Stage
    ordinal: int
    path: str
    """Of a part of a planned shard; empty for all of it."""
    is_process: bool
    is_committed: bool
    is_failed: bool
    is_superseded: bool
    concerns_job: bool
    newest: AttemptRecord | None
    """The record of the newest attempt."""
    is_live: bool
    """Whether the newest attempt is assigned and its end is not recorded yet."""
    next_attempt: int
    avoid: str | None
    """The Mac on which the last attempt ended badly."""
    assigned_at: str | None
    live_clips: int
    """How many clips it has while an attempt is live."""
    machine_milliseconds: int
    setup_milliseconds: int
    """Both: the verified lane time of all its attempts."""
    chip: str | None
    """Of the oldest attempt that may have worked."""
    committing: AttemptUsage | None
    """The verified machine time of the attempt with the result."""
    times: tuple[VerifiedTime, ...]

    @classmethod
    def of(cls, shard: AudioShard) -> ShardFacts:
        spec, status = shard.spec, shard.status
        newest, failed = current(status), is_failed(shard)
        is_live = newest is not None and newest.outcome is AttemptOutcome.ASSIGNED
        machine_milliseconds, setup_milliseconds = _verified_milliseconds(shard)
        return cls(
            shard,
            shard.metadata.uid,
            made_for(shard),
            spec.stage,
            spec.ordinal or 0,
            path_of(shard),
            spec.stage is Stage.PROCESS,
            is_committed(shard),
            failed,
            is_superseded(shard),
            failed and concerns_job(shard),
            newest,
            is_live,
            attempts_before(shard) + 1,
            mac_to_avoid(status.attempts) if status.attempts else None,
            status.assigned_at,
            count(spec.indexes or "") if is_live else 0,
            machine_milliseconds,
            setup_milliseconds,
            chip_of_work(shard),
            _committing(shard),
            verified_times((shard,)),
        )


def _verified_milliseconds(shard: AudioShard) -> tuple[int, int]:
    folded = shard.status.folded
    machine, setup = (0, 0) if folded is None else (folded.machine_milliseconds, folded.setup_milliseconds)
    for record in shard.status.attempts:
        if record.usage is not None:
            machine += record.usage.machine_milliseconds
            setup += record.usage.setup_milliseconds
    return machine, setup


def _committing(shard: AudioShard) -> AttemptUsage | None:
    commit = shard.status.commit
    if commit is None:
        return None
    usages = (record.usage for record in shard.status.attempts if record.attempt == commit.attempt)
    return next((usage for usage in usages if usage is not None and usage.machine_milliseconds), None)
