"""What is due of a schedule now: the run that starts, what it replaces, and what is missed. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from voxfleet_api.kinds import AudioBatchJob, AudioBatchSchedule
from voxfleet_api.kinds.audio_batch_schedule import MAX_ACTIVE_JOBS, ConcurrencyPolicy, StartedBy
from voxfleet_api.moments import timestamp
from voxfleet_operator.reconcile.job_life import has_ended
from voxfleet_operator.reconcile.schedule.addresses import UnknownPlaceholder
from voxfleet_operator.reconcile.schedule.slot_job import Run, job_body, job_name, rule_of
from voxfleet_operator.reconcile.schedule.slots import SlotRule, UnusableSchedule

LONGEST_STEP_BACK = timedelta(days=1)
"""Slots that are decided stay so when the clock is put back. Further ahead of the clock than this, they were decided by
one that was wrong."""
REQUEST_LIFE = timedelta(days=1)
"""A request that is older starts nothing, where no deadline says otherwise: it was carried out in another cluster, or
before a restore."""
COUNTED_MISSES = 100
"""Missed slots are counted up to here."""


@dataclass(frozen=True, slots=True)
class Missed:
    """Slots that never start by themselves."""

    count: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class SchedulePlan:
    until: datetime
    """Each slot up to here is decided, once `run` has started."""
    problem: str | None = None
    """Why the spec cannot be used."""
    run: Run | None = None
    """Starts now."""
    replaced: tuple[AudioBatchJob, ...] = ()
    """Are cancelled once the run's job is there, so that one which is refused costs nothing."""
    waits: str | None = None
    """What a run that is due waits for."""
    missed: Missed | None = None
    old_request: bool = False
    """spec.requestedAt is too old to start anything."""
    upcoming: tuple[datetime, ...] = ()
    """The next slots after now."""
    wake_at: datetime | None = None
    """When something else may be due, if nothing changes before."""


@dataclass(frozen=True, slots=True)
class _Due:
    """What is due, before anybody looks at other jobs."""

    until: datetime
    run: Run | None = None
    missed: Missed | None = None
    old_request: bool = False
    late_at: datetime | None = None
    """When the run is too late to start."""


def plan_schedule(
    schedule: AudioBatchSchedule, jobs: Iterable[AudioBatchJob], now: datetime, upcoming: int
) -> SchedulePlan:
    """`jobs`: those that the schedule controls. `upcoming`: how many of the next slots are wanted."""
    spec, rule = schedule.spec, rule_of(schedule)
    since = decided_until(schedule, now)
    try:
        rule.check(now)
        job_body(schedule, Run(now, StartedBy.SLOT))
    except (UnusableSchedule, UnknownPlaceholder) as error:
        return SchedulePlan(since, problem=str(error))
    following = () if spec.suspend else rule.upcoming(max(now, since), upcoming)
    request_at = _request(schedule)
    moments = [*following[:1], *([request_at] if request_at is not None and request_at > now else [])]
    if spec.suspend:
        return SchedulePlan(since)
    due = _due(schedule, rule, since, now)
    if due.run is None:
        return SchedulePlan(
            due.until,
            missed=due.missed,
            old_request=due.old_request,
            upcoming=following,
            wake_at=min(moments, default=None),
        )
    made, others = _made(schedule, due.run, jobs)
    waits = None if made else _waits(schedule, due.run, others)
    if waits is not None:
        wake_at = min([*moments, *([due.late_at] if due.late_at is not None else [])], default=None)
        return SchedulePlan(since, waits=waits, upcoming=following, wake_at=wake_at)
    replaces = spec.concurrency_policy is ConcurrencyPolicy.REPLACE
    return SchedulePlan(
        due.until,
        run=due.run,
        replaced=tuple(filter(_can_be_cancelled, others)) if replaces else (),
        missed=due.missed,
        upcoming=following,
        wake_at=min(moments, default=None),
    )


def decided_until(schedule: AudioBatchSchedule, now: datetime) -> datetime:
    """The moment after which slots count.

    That is when the schedule was created; after an edit of its times, when the operator saw it.
    """
    decided = schedule.status.decided
    if decided is None:
        return datetime.fromisoformat(schedule.metadata.creation_timestamp)
    until = datetime.fromisoformat(decided.until)
    if until > now + LONGEST_STEP_BACK:
        return now
    edited = (decided.schedule, decided.time_zone) != (schedule.spec.schedule, schedule.spec.time_zone)
    return max(now, until) if edited else until


def _due(schedule: AudioBatchSchedule, rule: SlotRule, since: datetime, now: datetime) -> _Due:
    """The latest slot that is due, or a request that came before it; what is too late is missed, as are earlier slots.

    In the order of their times a request waits behind no slots that keep coming, and replaces none that is newer.
    """
    deadline = schedule.spec.starting_deadline_seconds
    slot, request = rule.latest(since, now), _due_request(schedule, since, now)
    if request is not None and request.run is not None and (slot is None or request.run.slot < slot):
        return request
    if slot is not None:
        late_at = None if deadline is None else slot + timedelta(seconds=deadline + 1)
        if late_at is not None and now >= late_at:
            return _Due(slot, missed=_missed(rule, since, slot, counts_last=True))
        return _Due(slot, Run(slot, StartedBy.SLOT), _missed(rule, since, slot, counts_last=False), late_at=late_at)
    return _Due(since) if request is None else request


def _due_request(schedule: AudioBatchSchedule, since: datetime, now: datetime) -> _Due | None:
    requested, deadline = _request(schedule), schedule.spec.starting_deadline_seconds
    if requested is None or requested > now:
        return None
    late_at = requested + (REQUEST_LIFE if deadline is None else timedelta(seconds=deadline + 1))
    if now >= late_at:
        return _Due(since, old_request=True)
    return _Due(since, Run(requested, StartedBy.REQUEST), late_at=late_at)


def _request(schedule: AudioBatchSchedule) -> datetime | None:
    """The request that nobody has carried out."""
    asked = schedule.spec.requested_at
    if asked is None or asked == schedule.status.last_handled_request_at:
        return None
    return datetime.fromisoformat(asked)


def _missed(rule: SlotRule, since: datetime, slot: datetime, *, counts_last: bool) -> Missed | None:
    count = rule.count(since, slot, COUNTED_MISSES)
    if not count and not counts_last:
        return None
    first = next(rule.after(since))
    if counts_last:
        return Missed(min(count + 1, COUNTED_MISSES), first, slot)
    before = rule.latest(since, slot - timedelta(seconds=1))
    return Missed(count, first, first if before is None else before)


def _made(
    schedule: AudioBatchSchedule, run: Run, jobs: Iterable[AudioBatchJob]
) -> tuple[bool, tuple[AudioBatchJob, ...]]:
    """Whether the run's job is there already, so that only its record is missing; and which others have not ended."""
    name, known = job_name(schedule.metadata.name, run.slot), tuple(jobs)
    made = any(job.metadata.name == name for job in known)
    return made, tuple(job for job in known if job.metadata.name != name and not has_ended(job))


def _waits(schedule: AudioBatchSchedule, run: Run, others: tuple[AudioBatchJob, ...]) -> str | None:
    if not others:
        return None
    what, first = f"the run of {timestamp(run.slot)}", others[0].metadata.name
    if schedule.spec.concurrency_policy is ConcurrencyPolicy.FORBID:
        return f"{what} waits for the end of job {first}, as concurrencyPolicy is Forbid"
    if len(others) >= MAX_ACTIVE_JOBS:
        return f"{what} waits for the end of one of {len(others)} jobs, such as {first}; no more run at a time"
    return None


def _can_be_cancelled(job: AudioBatchJob) -> bool:
    return not job.spec.cancel and job.metadata.deletion_timestamp is None
