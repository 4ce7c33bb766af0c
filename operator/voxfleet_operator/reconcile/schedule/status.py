"""An AudioBatchSchedule's status. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from voxfleet_api.conditions import Condition, ConditionType, Reason, condition, is_true
from voxfleet_api.kinds import AudioBatchJob, AudioBatchSchedule
from voxfleet_api.kinds.audio_batch_schedule import (
    MAX_ACTIVE_JOBS,
    ActiveJob,
    AudioBatchScheduleStatus,
    DecidedSlots,
    StartedBy,
)
from voxfleet_api.moments import timestamp
from voxfleet_operator.reconcile.job_findings import Blocker
from voxfleet_operator.reconcile.job_life import has_ended
from voxfleet_operator.reconcile.schedule.decide import LONGEST_STEP_BACK, SchedulePlan, decided_until
from voxfleet_operator.reconcile.schedule.slot_job import slot_of

JOB_BLOCKERS = frozenset({Reason.JOB_NAME_TAKEN, Reason.JOB_REFUSED, Reason.JOB_FORBIDDEN})
"""Why no job could be made, although the schedule itself can be read."""


def schedule_status(
    schedule: AudioBatchSchedule,
    jobs: Sequence[AudioBatchJob],
    plan: SchedulePlan,
    blocker: Blocker | None,
    now: datetime,
) -> AudioBatchScheduleStatus:
    """`jobs`: those that the schedule controls, with the one that has just started. `blocker`: why none could."""
    old, spec = schedule.status, schedule.spec
    started = plan.run if blocker is None else None
    until = plan.until if plan.run is None or started is not None else decided_until(schedule, now)
    last_slot, handled = old.last_schedule_time, old.last_handled_request_at
    if started is not None and started.started_by is StartedBy.SLOT:
        last_slot = timestamp(started.slot)
    if plan.old_request or (started is not None and started.started_by is StartedBy.REQUEST):
        handled = spec.requested_at
    return AudioBatchScheduleStatus(
        observed_generation=schedule.metadata.generation,
        conditions=_conditions(schedule, plan, blocker, timestamp(now)),
        active=active_jobs(jobs),
        last_schedule_time=last_slot,
        last_successful_time=_last_success(old.last_successful_time, jobs, now),
        last_handled_request_at=handled,
        next_schedule_times=tuple(timestamp(slot) for slot in plan.upcoming),
        decided=DecidedSlots(schedule=spec.schedule, time_zone=spec.time_zone, until=timestamp(until)),
    )


def active_jobs(jobs: Sequence[AudioBatchJob]) -> tuple[ActiveJob, ...]:
    running = [job for job in jobs if not has_ended(job)]
    return tuple(
        ActiveJob(name=job.metadata.name, slot=None if (slot := slot_of(job)) is None else timestamp(slot))
        for job in running[:MAX_ACTIVE_JOBS]
    )


def is_blocked(schedule: AudioBatchSchedule) -> bool:
    """Whether the last pass could make no job."""
    return any(
        item.type == ConditionType.STALLED and item.reason in JOB_BLOCKERS for item in schedule.status.conditions
    )


def _conditions(
    schedule: AudioBatchSchedule, plan: SchedulePlan, blocker: Blocker | None, now: str
) -> tuple[Condition, ...]:
    def one(type_: ConditionType, status: bool, reason: Reason, message: str) -> Condition:
        generation = schedule.metadata.generation
        return condition(schedule.status.conditions, type_, status, reason, message, generation=generation, now=now)

    found = blocker if plan.problem is None else Blocker(Reason.INVALID_SPEC, plan.problem)
    if found is not None:
        return (
            one(ConditionType.READY, False, found.reason, found.message),
            one(ConditionType.STALLED, True, found.reason, found.message),
        )
    if schedule.spec.suspend:
        message = "no run starts while spec.suspend is true"
        return (
            one(ConditionType.READY, True, Reason.SUSPENDED, message),
            one(ConditionType.SUSPENDED, True, Reason.SUSPENDED, message),
        )
    zone = schedule.spec.time_zone
    message = plan.waits or f"runs are made at {schedule.spec.schedule} in {zone}"
    return (one(ConditionType.READY, True, Reason.SCHEDULED, message),)


def _last_success(before: str | None, jobs: Sequence[AudioBatchJob], now: datetime) -> str | None:
    """Without what a clock that was wrong dated: it would be the last one until its time comes."""
    times = [
        job.status.completion_time
        for job in jobs
        if job.status.completion_time is not None and is_true(job.status.conditions, ConditionType.COMPLETE)
    ]
    latest = timestamp(now + LONGEST_STEP_BACK)
    return max((time for time in (*times, before) if time is not None and time <= latest), default=None)
