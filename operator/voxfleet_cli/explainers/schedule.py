"""Explains an AudioBatchSchedule."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.kinds import AudioBatchJob, AudioBatchSchedule
from voxfleet_cli.explainers.explanation import Explainer, Plain, Related, message_of, reason_of
from voxfleet_cli.job_verbs import state_of
from voxfleet_operator.reconcile.schedule.slot_job import SCHEDULE_LABEL


def _details(schedule: AudioBatchSchedule, related: Related) -> Plain:
    spec, status = schedule.spec, schedule.status
    return {
        "schedule": f"{spec.schedule} in {spec.time_zone}",
        "nextRuns": [_local(slot, spec.time_zone) for slot in status.next_schedule_times],
        "lastRun": _local(status.last_schedule_time, spec.time_zone),
        "lastSuccess": _local(status.last_successful_time, spec.time_zone),
        "request": _request(schedule),
        "jobs": [{"job": job.metadata.name, "state": state_of(job)} for job in related.of(AudioBatchJob)],
    }


def _request(schedule: AudioBatchSchedule) -> str | None:
    asked = schedule.spec.requested_at
    if asked is None:
        return None
    return f"{asked} is {'done' if asked == schedule.status.last_handled_request_at else 'not carried out yet'}"


def _local(moment: str | None, zone: str) -> str | None:
    if moment is None:
        return None
    try:
        return datetime.fromisoformat(moment).astimezone(ZoneInfo(zone)).isoformat(timespec="minutes")
    except (KeyError, ValueError, OSError):  # the zone is none; the operator says so
        return moment


EXPLAINER = Explainer(
    kind=AudioBatchSchedule,
    state=lambda schedule: reason_of(schedule.status.conditions, ConditionType.READY),
    next=lambda schedule: message_of(schedule.status.conditions, ConditionType.READY),
    details=_details,
    related={
        AudioBatchJob: lambda schedule, job: (
            job.metadata.namespace == schedule.metadata.namespace
            and job.metadata.labels.get(SCHEDULE_LABEL) == schedule.metadata.name
        )
    },
    failed=lambda schedule: is_true(schedule.status.conditions, ConditionType.STALLED),
)
