"""A job's status, computed as a whole from its shards and its plan on every pass. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from voxfleet_api.clip_limits import beyond_limits
from voxfleet_api.clip_warnings import warning_counts
from voxfleet_api.conditions import Condition, ConditionType, Reason, condition, find
from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_api.kinds.contract_limits import Quarantine
from voxfleet_api.kinds.job_status import (
    AudioBatchJobStatus,
    ClipCounts,
    JobPlan,
    ScratchReport,
    ShardCounts,
    StoredFile,
)
from voxfleet_api.ranges import count
from voxfleet_api.results import job_folder
from voxfleet_operator.metering.usage import job_usage
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.shard.status import failed_condition
from voxfleet_operator.reconcile.status_size import first_clips, first_macs


def shard_total(plan: JobPlan | None) -> int:
    return max(0, len(plan.boundaries) - 1) if plan is not None else 0


def with_facts(
    job: AudioBatchJob, status: AudioBatchJobStatus, shards: JobShards, *, ended: bool, pending_reason: str | None
) -> AudioBatchJobStatus:
    """`status` with the counts, usage, Macs, quarantine and scratch that the shards have now."""
    return status.model_copy(
        update={
            "observed_generation": job.metadata.generation,
            "clips": clip_counts(status.plan, shards, ended=ended),
            "shards": ShardCounts(
                total=shard_total(status.plan) + len(shards.coverage.superseded),  # each was split into two
                committed=sum(shard.status.commit is not None for shard in shards.process),
            ),
            "quarantine": first_clips(clip for shard in shards.process for clip in shard.status.quarantine),
            "failures": first_clips(clip for shard in shards.process for clip in shard.status.failures),
            "warnings": warning_counts(count for shard in shards.process for count in shard.status.warnings),
            "macs": macs_of(job, shards.all),
            "pending_reason": None if ended else pending_reason,
            "usage": job_usage(shards.all, ended=ended),
            "scratch": ScratchReport(
                high_water_bytes=max((shard.status.scratch_high_water_bytes for shard in shards.all), default=0),
                residue_bytes=sum(shard.status.scratch_residue_bytes for shard in shards.all),
            ),
            "measured": None if shards.finalize is None else shards.finalize.status.measured,
            "results": stored_index(job, shards.finalize),
        }
    )


def clip_counts(plan: JobPlan | None, shards: JobShards, *, ended: bool) -> ClipCounts:
    if plan is None or not plan.boundaries:
        return ClipCounts()
    total = plan.boundaries[-1]
    succeeded = failed = quarantined = not_run = running = 0
    for found in shards.coverage.covering:
        clips = found.shard.status.clips
        if found.is_committed and clips is not None:
            succeeded += clips.succeeded
            failed += clips.failed
            quarantined += clips.quarantined
            not_run += clips.not_run
        elif found.is_failed:
            not_run += count(found.shard.spec.indexes or "")
        elif found.is_live:
            running += found.live_clips
    pending = total - succeeded - failed - quarantined - not_run - running
    if ended:
        not_run, running, pending = not_run + running + pending, 0, 0
    return ClipCounts(
        total=total,
        succeeded=succeeded,
        failed=failed,
        quarantined=quarantined,
        not_run=not_run,
        running=running,
        pending=pending,
    )


def macs_of(job: AudioBatchJob, shards: Iterable[AudioShard]) -> tuple[str, ...]:
    """Every Mac that ever held an attempt, as far as a status has room."""
    names = {record.mac for shard in shards for record in shard.status.attempts} | set(job.status.macs)
    return first_macs(names)


def stored_index(job: AudioBatchJob, finalize: AudioShard | None) -> StoredFile | None:
    if finalize is None or finalize.status.commit is None:
        return None
    folder = job_folder(job.spec.output.uri, job.metadata.name, job.metadata.uid)
    return StoredFile(uri=f"{folder}/index.json", sha256=finalize.status.commit.sha256)


def verdict(job: AudioBatchJob, counts: ClipCounts, shards: JobShards) -> tuple[str, str] | None:
    """After the last shard ended: why the job has failed, as reason and message; None if it is complete."""
    for shard in (*shards.process, *((shards.finalize,) if shards.finalize else ())):
        failed = failed_condition(shard)
        if failed is not None:
            return failed.reason, f"shard {shard.metadata.name} failed: {failed.message}"
    limits = job.status.contract.spec.quarantine if job.status.contract is not None else Quarantine()
    return beyond_limits(counts, shards.quarantined_beyond_halt, limits)


class JobConditions:
    """Sets or drops some conditions of a job and keeps the others."""

    def __init__(self, job: AudioBatchJob, now: str) -> None:
        self._previous = job.status.conditions
        self._generation = job.metadata.generation
        self._now = now
        self._items = {item.type: item for item in job.status.conditions}

    def set(self, type_: ConditionType, status: bool | None, reason: str, message: str) -> None:
        self._items[type_.value] = condition(
            self._previous, type_, status, reason, message, generation=self._generation, now=self._now
        )

    def drop(self, type_: ConditionType) -> None:
        """Drops a condition that reports a problem: such conditions are present only while they are true."""
        self._items.pop(type_.value, None)

    def result(self) -> tuple[Condition, ...]:
        return tuple(self._items[name] for name in sorted(self._items))


def only_progress_moved(old: AudioBatchJobStatus, new: AudioBatchJobStatus) -> bool:
    """Whether the change may wait for the next progress write.

    True when no condition, plan or result changed. Waiting for a Mac is progress too: often it is over in a moment.
    """
    waits = Reason.WAITING_FOR_MAC in (_state(old), _state(new))
    return _essence(old, without_state=waits) == _essence(new, without_state=waits)


def _state(status: AudioBatchJobStatus) -> str | None:
    complete = find(status.conditions, ConditionType.COMPLETE)
    return None if complete is None else complete.reason


def _essence(status: AudioBatchJobStatus, *, without_state: bool) -> object:
    return (
        status.observed_generation,
        {
            (item.type, item.status, "" if without_state and item.type == ConditionType.COMPLETE else item.reason)
            for item in status.conditions
        },
        status.contract is None,
        status.plan,
        status.results,
        status.finalize_time,
        status.completion_time,
        status.usage.settled,
    )
