"""Which ended jobs of a schedule go: beyond the limits of its history, or older than its TTL. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.kinds import AudioBatchJob, AudioBatchSchedule
from voxfleet_operator.reconcile.job_life import has_ended


@dataclass(frozen=True, slots=True)
class HistoryRemoval:
    jobs: tuple[AudioBatchJob, ...]
    wake_at: datetime | None
    """When the next job's time is over."""


def plan_history(
    schedule: AudioBatchSchedule,
    jobs: Iterable[AudioBatchJob],
    is_needed: Callable[[AudioBatchJob], bool],
    now: datetime,
) -> HistoryRemoval:
    """`jobs`: those that the schedule controls; a person's own are never removed.

    `is_needed`: whether a settled job is still needed. It is asked of those alone that would go.
    """
    ended = sorted(
        (job for job in jobs if has_ended(job) and job.metadata.deletion_timestamp is None), key=ended_at, reverse=True
    )
    succeeded = [job for job in ended if is_true(job.status.conditions, ConditionType.COMPLETE)]
    failed = [job for job in ended if not is_true(job.status.conditions, ConditionType.COMPLETE)]
    spec = schedule.spec
    beyond = {
        job.metadata.uid
        for job in (*succeeded[spec.successful_jobs_history_limit :], *failed[spec.failed_jobs_history_limit :])
    }
    life = None if spec.finished_job_ttl_seconds is None else timedelta(seconds=spec.finished_job_ttl_seconds)
    removed, moments = [], []
    for job in ended:
        over_at = None if life is None else ended_at(job) + life
        if job.metadata.uid not in beyond and (over_at is None or over_at > now):
            moments += [] if over_at is None else [over_at]
        elif job.status.usage.settled and not is_needed(job):
            removed.append(job)
    return HistoryRemoval(tuple(removed), min(moments, default=None))


def ended_at(job: AudioBatchJob) -> datetime:
    return datetime.fromisoformat(job.status.completion_time or job.metadata.creation_timestamp)
