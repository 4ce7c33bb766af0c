"""Which slots of a schedule a backfill runs, and what each has already. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from voxfleet_api.kinds import AudioBatchJob, AudioBatchSchedule
from voxfleet_api.kinds.audio_batch_schedule import StartedBy
from voxfleet_api.moments import timestamp
from voxfleet_cli.command_line import Refused
from voxfleet_cli.job_verbs import state_of
from voxfleet_operator.reconcile.job_life import has_ended
from voxfleet_operator.reconcile.schedule.slot_job import (
    SCHEDULE_LABEL,
    STARTED_BY_LABEL,
    Kinship,
    job_name,
    kinship,
    rule_of,
)
from voxfleet_operator.reconcile.schedule.slots import SlotRule, UnusableSchedule

MAX_SLOTS = 400
"""A year of nights. Who wants more asks twice."""


@dataclass(frozen=True, slots=True)
class BackfillSlot:
    slot: datetime
    job: str
    """The name that the slot's job has or gets."""
    found: AudioBatchJob | None
    """What has that name now."""

    @property
    def missing(self) -> bool:
        return self.found is None


def backfill_slots(
    schedule: AudioBatchSchedule, first: str, last: str, jobs: Iterable[AudioBatchJob], now: datetime
) -> tuple[BackfillSlot, ...]:
    """The slots from `first` to `last`, both included. `jobs`: all of the namespace.

    Each of the two is a time with its offset, or a date in the schedule's time zone, which stands for all of that day.
    Raises Refused.
    """
    rule, name = rule_of(schedule), schedule.metadata.name
    try:
        begin, end = _moment(first, rule.zone, ends=False), _moment(last, rule.zone, ends=True)
        slots = _slots(rule, begin, min(end, now))
    except UnusableSchedule as error:
        raise Refused(f"schedule {name} has no slots: {error}") from error
    if begin > end:
        raise Refused(f"--from {first} is later than --to {last}; write them the other way round")
    if not slots:
        raise Refused(f"schedule {name} has no slot from {timestamp(begin)} to {timestamp(end)} that has passed")
    if len(slots) > MAX_SLOTS:
        raise Refused(
            f"schedule {name} has more than {MAX_SLOTS} slots from {first} to {last}; write an earlier --to, the last"
            f" of {MAX_SLOTS} is {timestamp(slots[MAX_SLOTS - 1])}"
        )
    known = {job.metadata.name: job for job in jobs}
    return tuple(BackfillSlot(slot, job := job_name(name, slot), known.get(job)) for slot in slots)


def what_is_there(schedule: AudioBatchSchedule, slot: BackfillSlot) -> str:
    """For people."""
    if slot.found is None:
        return "to run"
    if kinship(slot.found, schedule) is Kinship.FOREIGN:
        return "another job has its name"
    return f"has its job: {state_of(slot.found)}"


def running(schedule: AudioBatchSchedule, jobs: Iterable[AudioBatchJob]) -> set[str]:
    """The jobs of backfills of this schedule that have not ended."""
    return {
        job.metadata.name
        for job in jobs
        if job.metadata.labels.get(SCHEDULE_LABEL) == schedule.metadata.name
        and job.metadata.labels.get(STARTED_BY_LABEL) == StartedBy.BACKFILL
        and not has_ended(job)
    }


def _slots(rule: SlotRule, begin: datetime, end: datetime) -> list[datetime]:
    return [slot for slot in islice(rule.after(begin - timedelta(seconds=1)), MAX_SLOTS + 1) if slot <= end]


def _moment(text: str, zone: ZoneInfo, *, ends: bool) -> datetime:
    try:
        day = date.fromisoformat(text) + timedelta(days=1 if ends else 0)
        begins = datetime.combine(day, time(), zone).astimezone(UTC)
        return begins - timedelta(seconds=1) if ends else begins
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise Refused(f"{text} has no offset; write {text}Z for UTC, or +01:00 behind it")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Refused(f"{text} is no time; write a date such as 2026-11-30, or 2026-11-30T02:00:00Z") from error
