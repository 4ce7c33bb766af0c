"""Counts what a write of a status says for the first time: ended attempts, committed clips, verified machine time."""

from __future__ import annotations

from datetime import datetime

from voxfleet_api.conditions import ConditionType, Reason, find
from voxfleet_api.kinds import AudioBatchJob, AudioShard, Resource
from voxfleet_api.kinds.audio_shard import AudioShardStatus
from voxfleet_operator.event_reasons import announced
from voxfleet_operator.metrics import WorkMetrics, class_label, outcome_label
from voxfleet_operator.reconcile.transitions import ended_attempts


def count_write(metrics: WorkMetrics, before: Resource, after: Resource) -> None:
    if isinstance(before, AudioShard) and isinstance(after, AudioShard):
        _count_shard(metrics, before.status, after.status)
    elif isinstance(before, AudioBatchJob) and isinstance(after, AudioBatchJob):
        _count_job(metrics, before, after)


def _count_shard(metrics: WorkMetrics, before: AudioShardStatus, after: AudioShardStatus) -> None:
    for record in ended_attempts(before, after):
        failure_class = class_label(record.failure_class)
        metrics.attempts.labels(outcome_label(record.outcome), failure_class).inc()
        if record.costs_retry:
            metrics.retries.labels(failure_class).inc()
    if before.commit is None and after.commit is not None and after.clips is not None:
        for outcome, clips in after.clips.model_dump().items():
            metrics.clips.labels(outcome).inc(clips)
    failed = find(after.conditions, ConditionType.FAILED)
    if (
        failed is not None
        and failed.reason == Reason.ATTEMPTS_EXHAUSTED
        and not find(before.conditions, ConditionType.FAILED)
    ):
        metrics.exhausted.inc()
    if after.superseded_by and not before.superseded_by:
        metrics.split.inc()
    (machine_before, audio_before), (machine, audio) = _used_milliseconds(before), _used_milliseconds(after)
    metrics.machine_seconds.inc(max(0, machine - machine_before) / 1000)
    metrics.audio_seconds.inc(max(0, audio - audio_before) / 1000)


def _used_milliseconds(status: AudioShardStatus) -> tuple[int, int]:
    """Machine time and audio of all attempts."""
    parts = [record.usage for record in status.attempts if record.usage is not None]
    machine, audio = sum(part.machine_milliseconds for part in parts), sum(part.audio_milliseconds for part in parts)
    if status.folded is None:
        return machine, audio
    return machine + status.folded.machine_milliseconds, audio + status.folded.audio_milliseconds


def _count_job(metrics: WorkMetrics, before: AudioBatchJob, after: AudioBatchJob) -> None:
    created, ended = after.metadata.creation_timestamp, after.status.completion_time
    if not created or ended is None or before.status.completion_time is not None:
        return
    failed = find(after.status.conditions, ConditionType.FAILED)
    result = announced(failed.reason) if failed is not None else Reason.FINISHED
    took = datetime.fromisoformat(ended) - datetime.fromisoformat(created)
    metrics.job_seconds.labels(str(result)).observe(max(0.0, took.total_seconds()))
