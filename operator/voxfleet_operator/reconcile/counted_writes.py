"""Counts what a write of a status says for the first time: ended attempts, committed clips, verified machine time."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from voxfleet_api.conditions import ConditionType, Reason, find
from voxfleet_api.kinds import AudioBatchJob, AudioShard, Resource
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AudioShardStatus, Stage
from voxfleet_operator.event_reasons import announced
from voxfleet_operator.metrics import (
    MACHINE_CLASSES,
    OVERHEAD,
    PRODUCTIVE,
    RETRY,
    WorkMetrics,
    class_label,
    outcome_label,
)
from voxfleet_operator.reconcile.transitions import ended_attempts


def count_write(metrics: WorkMetrics, before: Resource, after: Resource) -> None:
    if isinstance(before, AudioShard) and isinstance(after, AudioShard):
        _count_shard(metrics, before.status, after.status)
        if after.spec.stage is Stage.PROCESS:  # Finalize tells the clips of all of them again
            _count_clips(metrics, before.status, after.status)
    elif isinstance(before, AudioBatchJob) and isinstance(after, AudioBatchJob):
        _count_job(metrics, before, after)


def _count_shard(metrics: WorkMetrics, before: AudioShardStatus, after: AudioShardStatus) -> None:
    for record in ended_attempts(before, after):
        failure_class = class_label(record.failure_class)
        metrics.attempts.labels(outcome_label(record.outcome), failure_class).inc()
        if record.costs_retry:
            metrics.retries.labels(failure_class).inc()
    failed = find(after.conditions, ConditionType.FAILED)
    if (
        failed is not None
        and failed.reason == Reason.ATTEMPTS_EXHAUSTED
        and not find(before.conditions, ConditionType.FAILED)
    ):
        metrics.exhausted.inc()
    if after.superseded_by and not before.superseded_by:
        metrics.split.inc()
    used_before, used = _machine_milliseconds(before), _machine_milliseconds(after)
    for machine_class in MACHINE_CLASSES:
        grown = used[machine_class] - used_before[machine_class]
        metrics.machine_seconds.labels(machine_class).inc(max(0, grown) / 1000)
    metrics.audio_seconds.inc(max(0, _audio_milliseconds(after) - _audio_milliseconds(before)) / 1000)


def _count_clips(metrics: WorkMetrics, before: AudioShardStatus, after: AudioShardStatus) -> None:
    if before.commit is None and after.commit is not None and after.clips is not None:
        for outcome, clips in after.clips.model_dump().items():
            metrics.clips.labels(outcome).inc(clips)


def _machine_milliseconds(status: AudioShardStatus) -> Counter[str]:
    """By class, as a job's usage has it. Whether the work of an attempt is productive is known once it has ended."""
    used: Counter[str] = Counter()
    for record in status.attempts:
        usage = record.usage
        if usage is None:
            continue
        used[OVERHEAD] += usage.setup_milliseconds + usage.cleanup_milliseconds
        if record.outcome != AttemptOutcome.ASSIGNED:
            committed = status.commit is not None and status.commit.attempt == record.attempt
            used[PRODUCTIVE if committed else RETRY] += usage.work_milliseconds
    if status.folded is not None:
        used[OVERHEAD] += status.folded.setup_milliseconds + status.folded.cleanup_milliseconds
        used[RETRY] += status.folded.work_milliseconds
    return used


def _audio_milliseconds(status: AudioShardStatus) -> int:
    """Of all attempts."""
    listed = sum(record.usage.audio_milliseconds for record in status.attempts if record.usage is not None)
    return listed + (0 if status.folded is None else status.folded.audio_milliseconds)


def _count_job(metrics: WorkMetrics, before: AudioBatchJob, after: AudioBatchJob) -> None:
    created, ended = after.metadata.creation_timestamp, after.status.completion_time
    if not created or ended is None or before.status.completion_time is not None:
        return
    failed = find(after.status.conditions, ConditionType.FAILED)
    result = announced(failed.reason) if failed is not None else Reason.FINISHED
    took = datetime.fromisoformat(ended) - datetime.fromisoformat(created)
    metrics.job_seconds.labels(str(result)).observe(max(0.0, took.total_seconds()))
