"""A schedule and its jobs, for tables of decisions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.unit.operator.decisions.bodies import job_body

from voxfleet_api.kinds import AudioBatchJob, AudioBatchSchedule
from voxfleet_api.kinds.audio_batch_schedule import StartedBy
from voxfleet_operator.reconcile.schedule.slot_job import Run
from voxfleet_operator.reconcile.schedule.slot_job import job_body as slot_job_body

CREATED = "2026-11-20T22:00:00Z"
JOB_SPEC: dict[str, Any] = {
    **job_body()["spec"],
    "input": {"prefix": {"uri": "file:///calls/{date}/"}},
    "output": {"uri": "file:///results/{slot}/"},
}


def moment(text: str) -> datetime:
    """`2026-11-21 02:00`, in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def schedule_body(**spec: object) -> dict[str, Any]:
    return {
        "apiVersion": "voxfleet.dev/v1alpha1",
        "kind": "AudioBatchSchedule",
        "metadata": {"name": "nightly", "namespace": "team"},
        "spec": {"schedule": "0 2 * * *", "jobTemplate": {"spec": JOB_SPEC}, **spec},
    }


def a_schedule(status: dict[str, Any] | None = None, **spec: object) -> AudioBatchSchedule:
    body = schedule_body()
    body["spec"] |= spec
    body["metadata"] |= {"uid": "nightly-uid", "generation": 1, "creationTimestamp": CREATED}
    return AudioBatchSchedule.load(body | {"status": status or {}})


def slot_job(
    schedule: AudioBatchSchedule, slot: datetime, *, ended: str | None = None, at: str = "", settled: bool = True
) -> AudioBatchJob:
    """`ended`: Complete or Failed, at a time; None: it runs."""
    body = slot_job_body(schedule, Run(slot, StartedBy.SLOT))
    body["metadata"] |= {"uid": f"{body['metadata']['name']}-uid", "creationTimestamp": CREATED}
    conditions = [{"type": ended, "status": "True", "reason": "Finished", "lastTransitionTime": at}] if ended else []
    status: dict[str, Any] = {"observedGeneration": 1, "conditions": conditions, "usage": {"settled": settled}}
    if ended:
        status["completionTime"] = at
    return AudioBatchJob.load(body | {"status": status})
