"""A schedule in every state, with the status that the operator decides on."""

from __future__ import annotations

from tests.unit.operator.decisions.schedule_objects import a_schedule, moment, slot_job

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import AudioBatchJob, AudioBatchSchedule
from voxfleet_api.kinds.audio_batch_schedule import NEXT_RUNS
from voxfleet_operator.reconcile.job_findings import Blocker
from voxfleet_operator.reconcile.schedule.decide import plan_schedule
from voxfleet_operator.reconcile.schedule.status import JOB_BLOCKERS, schedule_status

EVENING, NIGHT = moment("2026-11-20 23:00"), moment("2026-11-21 02:00")


def schedule_states() -> dict[str, AudioBatchSchedule]:
    new, strict = a_schedule(), a_schedule(concurrencyPolicy="Forbid")
    earlier = slot_job(strict, moment("2026-11-20 02:00"))
    return {
        "nobody has seen it": new,
        "jobs are made": _decided(new),
        "a job runs": _decided(new, slot_job(new, NIGHT), night=True),
        "a run waits for an earlier job": _decided(strict, earlier, night=True),
        "suspended": _decided(a_schedule(suspend=True)),
        "resumed": _decided(_decided(a_schedule(suspend=True)).model_copy(update={"spec": new.spec})),
        "its schedule is none": _decided(a_schedule(schedule="0 2 30 2 *")),
        "its time zone is none": _decided(a_schedule(timeZone="Europe/Atlantis")),
        **{
            f"no job can be made, {reason}": _decided(new, night=True, blocker=Blocker(reason, "what to do"))
            for reason in sorted(JOB_BLOCKERS)
        },
        "jobs are made again": _decided(
            _decided(new, night=True, blocker=Blocker(Reason.JOB_REFUSED, "what to do")), night=True
        ),
    }


def _decided(
    schedule: AudioBatchSchedule, *jobs: AudioBatchJob, night: bool = False, blocker: Blocker | None = None
) -> AudioBatchSchedule:
    now = NIGHT if night else EVENING
    plan = plan_schedule(schedule, jobs, now, NEXT_RUNS)
    return schedule.model_copy(update={"status": schedule_status(schedule, jobs, plan, blocker, now)})
