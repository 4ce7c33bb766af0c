"""What a schedule does about names that are taken, jobs that are refused, and jobs that have ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.operator.decisions.attempt_objects import record, shard_with
from tests.unit.operator.decisions.bodies import LEDGER_KEY, mac_agent
from tests.unit.operator.decisions.memory_api import START
from tests.unit.operator.decisions.schedule_world import ScheduleWorld

from voxfleet_api import API_VERSION
from voxfleet_api.conditions import ConditionType, Reason, find
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.audio_batch_schedule import StartedBy
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptUsage
from voxfleet_operator.event_reasons import EventReason
from voxfleet_operator.kube_errors import Forbidden, Invalid, KubeError
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.schedule.slot_job import Run, job_body, job_name

FIRST = START + timedelta(hours=1)
"""The first slot of an hourly schedule that begins at START."""
FIRST_JOB = job_name("nightly", FIRST)


def hourly(**spec: object) -> ScheduleWorld:
    world = ScheduleWorld(0, **{"schedule": "0 * * * *", **spec})
    world.clock.seconds = 0.0
    world.api.objects[Key("AudioBatchSchedule", "team", "nightly")]["metadata"]["creationTimestamp"] = START.strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )
    world.start_operator()
    return world


def condition(world: ScheduleWorld, type_: ConditionType) -> str:
    found = find(world.schedule.status.conditions, type_)
    return "" if found is None else f"{found.status} {found.reason}"


def told(world: ScheduleWorld) -> list[str]:
    return [reason for _, reason, _ in world.journal.published]


def body_of(world: ScheduleWorld, started_by: StartedBy = StartedBy.SLOT) -> dict[str, Any]:
    return job_body(world.schedule, Run(FIRST, started_by))


def refuse(world: ScheduleWorld, error: KubeError | None) -> list[str]:
    """Lets the API server refuse every new job from now on; returns what it is asked."""
    asked: list[str] = []
    create = type(world.api).create

    async def refused_check(resource: Mapping[str, object]) -> dict[str, Any]:
        asked.append("check")
        if error is not None:
            raise error
        return dict(resource)

    async def refused_create(resource: Mapping[str, object]) -> dict[str, Any]:
        asked.append("create")
        if error is not None:
            raise error
        return await create(world.api, resource)

    world.api.check = refused_check  # type: ignore[method-assign] # an API server that refuses
    world.api.create = refused_create  # type: ignore[method-assign] # an API server that refuses
    return asked


async def test_a_quiet_schedule_writes_nothing() -> None:
    world = hourly(schedule="@yearly")
    await world.settle()
    writes = world.api.writes
    await world.wait_until(START + timedelta(hours=5))
    assert world.api.writes == writes and world.passes > 100


async def test_a_run_costs_a_job_and_one_write_and_its_end_another() -> None:
    world = hourly()
    await world.wait_until(FIRST - timedelta(seconds=1))
    writes, passes = world.api.writes, world.passes
    await world.wait_until(FIRST + timedelta(minutes=10))
    assert world.api.writes == writes + 2 and world.passes < passes + 20
    world.end(world.jobs[0], "Complete")
    await world.settle()
    assert world.api.writes == writes + 4, "the end itself, and the status"
    assert world.schedule.status.last_successful_time == "2026-11-20T23:10:00Z"


async def test_an_orphan_is_adopted_with_or_without_its_slot_being_due() -> None:
    world = hourly()
    body = body_of(world)
    del body["metadata"]["ownerReferences"]
    world.api.add(body)
    await world.settle()
    assert [owner.uid for owner in world.jobs[0].metadata.owner_references] == [world.schedule.metadata.uid]
    await world.wait_until(FIRST)
    assert len(world.api.made) == 1 and world.schedule.status.last_schedule_time == "2026-11-20T23:00:00Z"


async def test_a_backfilled_job_counts_as_the_slot_s_and_stays_the_person_s() -> None:
    world = hourly(successfulJobsHistoryLimit=0, finishedJobTTLSeconds=0)
    world.api.add(body_of(world, StartedBy.BACKFILL))
    world.end(world.jobs[0], "Complete")
    await world.wait_until(FIRST + timedelta(minutes=30))
    assert len(world.api.made) == len(world.jobs) == 1 and not world.jobs[0].metadata.owner_references
    assert world.schedule.status.last_schedule_time == "2026-11-20T23:00:00Z"


async def test_a_foreign_job_of_the_name_is_refused_told_once_and_waited_for() -> None:
    world = hourly(successfulJobsHistoryLimit=0)
    body = body_of(world)
    body["metadata"] |= {"ownerReferences": [], "labels": {}}
    world.api.add(body)
    world.end(world.jobs[0], "Complete")
    await world.wait_until(FIRST)
    writes = world.api.writes
    await world.wait_until(FIRST + timedelta(minutes=30))
    assert condition(world, ConditionType.READY) == f"False {Reason.JOB_NAME_TAKEN}"
    assert told(world).count(Reason.JOB_NAME_TAKEN) == 1 and world.api.writes == writes
    assert len(world.jobs) == 1, "it is somebody else's"
    world.api.user_deletes(AudioBatchJob, "team", FIRST_JOB)
    await world.wait_until(FIRST + timedelta(minutes=32))
    assert condition(world, ConditionType.READY) == f"True {Reason.SCHEDULED}"
    assert [job.metadata.name for job in world.jobs] == [FIRST_JOB]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(Forbidden("exceeded quota: jobs"), Reason.JOB_FORBIDDEN), (Invalid("spec.model: no"), Reason.JOB_REFUSED)],
)
async def test_a_refusal_by_day_is_a_condition_and_no_hot_loop(error: KubeError, reason: Reason) -> None:
    world = hourly()
    asked = refuse(world, error)
    await world.settle()
    assert set(asked) == {"check"} and len(asked) <= 2 and condition(world, ConditionType.STALLED) == f"True {reason}"
    message = world.schedule.status.conditions[0].message
    assert (
        str(error) in message
        and ("a Role with create, patch" if reason is Reason.JOB_FORBIDDEN else "spec.jobTemplate") in message
    )
    await world.wait_until(START + timedelta(minutes=30))
    assert len(asked) <= 32 and told(world) == [reason]
    await world.wait_until(FIRST + timedelta(minutes=30))
    assert "create" in asked and len(asked) <= 95
    refuse(world, None)
    await world.wait_until(FIRST + timedelta(minutes=32))
    assert condition(world, ConditionType.STALLED) == "" and [name for name, _ in world.api.made] == [FIRST_JOB]


async def test_a_refused_run_cancels_nothing() -> None:
    world = hourly(concurrencyPolicy="Replace")
    await world.wait_until(FIRST)
    refuse(world, Forbidden("exceeded quota"))
    await world.wait_until(FIRST + timedelta(hours=1, minutes=5))
    assert [job.spec.cancel for job in world.jobs] == [False]


async def test_a_run_whose_name_is_taken_cancels_nothing() -> None:
    world = hourly(concurrencyPolicy="Replace")
    await world.wait_until(FIRST)
    body = job_body(world.schedule, Run(FIRST + timedelta(hours=1), StartedBy.SLOT))
    body["metadata"] |= {"ownerReferences": [], "labels": {}}
    world.api.add(body)
    await world.wait_until(FIRST + timedelta(hours=1, minutes=5))
    assert condition(world, ConditionType.READY) == f"False {Reason.JOB_NAME_TAKEN}"
    assert [job.spec.cancel for job in world.jobs] == [False, False]


async def test_a_run_that_waits_starts_as_soon_as_the_earlier_one_ends() -> None:
    world = hourly(concurrencyPolicy="Forbid")
    await world.wait_until(FIRST + timedelta(hours=1, minutes=5))
    assert (
        len(world.jobs) == 1 and f"waits for the end of job {FIRST_JOB}" in world.schedule.status.conditions[0].message
    )
    world.end(world.jobs[0], "Failed")
    await world.settle()
    assert len(world.api.made) == 2


async def test_history_keeps_what_its_limits_say_and_what_is_still_needed() -> None:
    world = hourly(successfulJobsHistoryLimit=1, failedJobsHistoryLimit=1)
    for hour in range(1, 6):
        await world.wait_until(START + timedelta(hours=hour, minutes=1))
        job = next(job for job in world.jobs if not job.status.completion_time)
        world.end(job, "Failed" if hour in (2, 3) else "Complete", settled=hour != 4)
        if hour == 1:
            rerun = {**body_of(world)["spec"], "source": {"jobRef": {"name": FIRST_JOB}, "select": "Failed"}}
            del rerun["input"]
            metadata = {
                "name": "rerun",
                "namespace": "team",
                "annotations": {"voxfleet.dev/slot": "2000-01-01T00:00:00Z"},
            }
            world.api.add({"kind": "AudioBatchJob", "metadata": metadata, "spec": rerun})
    await world.settle()
    names = [job.metadata.name for job in world.jobs if job.metadata.name != "rerun"]
    hours = [1, 3, 4, 5]  # wanted by the rerun, the last that failed, not settled, the last that is complete
    assert names == [job_name("nightly", START + timedelta(hours=hour)) for hour in hours]


async def test_an_ended_job_goes_when_its_time_is_over() -> None:
    world = hourly(finishedJobTTLSeconds=600)
    await world.wait_until(FIRST)
    world.end(world.jobs[0], "Complete")
    await world.wait_until(FIRST + timedelta(seconds=599))
    assert len(world.jobs) == 1
    await world.wait_until(FIRST + timedelta(seconds=601))
    assert not world.jobs


async def test_nothing_starts_before_every_job_is_known() -> None:
    world = hourly(concurrencyPolicy="Forbid")
    world.synced = False
    await world.wait_until(FIRST + timedelta(minutes=5))
    assert not world.jobs and world.schedule.status.observed_generation == -1
    world.synced = True
    await world.wait_until(FIRST + timedelta(minutes=5, seconds=2))
    assert len(world.jobs) == 1


async def test_a_schedule_that_is_deleted_makes_nothing() -> None:
    world = hourly()
    key = Key("AudioBatchSchedule", "team", "nightly")
    metadata = {**world.api.objects[key]["metadata"], "deletionTimestamp": "2026-11-20T22:10:00Z", "finalizers": ["x"]}
    world.api._store({**world.api.objects[key], "metadata": metadata})
    await world.wait_until(FIRST + timedelta(hours=2))
    assert not world.jobs


async def test_a_request_for_a_slot_whose_job_has_ended_cancels_nothing() -> None:
    world = hourly(concurrencyPolicy="Replace")
    await world.wait_until(FIRST)
    world.end(world.jobs[0], "Complete")
    await world.wait_until(FIRST + timedelta(hours=1, minutes=5))
    world.edit(requestedAt="2026-11-20T23:00:00Z")
    await world.settle()
    assert world.schedule.status.last_handled_request_at == "2026-11-20T23:00:00Z"
    assert [job.spec.cancel for job in world.jobs] == [False, False]
    assert EventReason.JOB_REPLACED not in told(world)


async def test_a_request_waits_behind_no_slots_that_keep_coming() -> None:
    world = hourly(concurrencyPolicy="Forbid")
    await world.wait_until(FIRST + timedelta(minutes=10))
    world.edit(requestedAt="2026-11-20T23:10:00Z")
    await world.wait_until(FIRST + timedelta(hours=2, minutes=5))
    world.end(world.jobs[0], "Complete")
    await world.settle()
    assert [slot for _, slot in world.api.made] == [FIRST, FIRST + timedelta(minutes=10)]
    world.end(world.jobs[1], "Complete")
    await world.settle()
    assert [slot for _, slot in world.api.made][2:] == [FIRST + timedelta(hours=2)]


async def test_a_request_replaces_no_newer_slot() -> None:
    world = hourly(concurrencyPolicy="Replace")
    world.edit(requestedAt="2026-11-20T22:40:00Z")
    world.clock.seconds += 3600 + 600
    world.start_operator()
    await world.settle()
    assert [(job.metadata.name, job.spec.cancel) for job in world.jobs] == [
        (job_name("nightly", START + timedelta(minutes=40)), True),
        (FIRST_JOB, False),
    ]


async def test_a_job_that_is_replaced_is_told_once() -> None:
    world = hourly(concurrencyPolicy="Replace")
    await world.wait_until(FIRST + timedelta(hours=1, minutes=5))
    assert [job.spec.cancel for job in world.jobs] == [True, False]
    assert told(world).count(EventReason.JOB_REPLACED) == 1


async def test_runs_that_were_missed_while_jobs_were_refused_are_told() -> None:
    world = hourly(startingDeadlineSeconds=600)
    refuse(world, Forbidden("exceeded quota"))
    await world.wait_until(FIRST + timedelta(minutes=30))
    assert condition(world, ConditionType.READY) == f"False {Reason.JOB_FORBIDDEN}"
    assert told(world).count(EventReason.RUNS_MISSED) == 1


async def test_nothing_starts_beside_an_orphan_that_was_changed_while_it_was_adopted() -> None:
    world = hourly(concurrencyPolicy="Forbid")
    await world.wait_until(FIRST)
    orphan = world.api.objects[Key("AudioBatchJob", "team", FIRST_JOB)]
    world.clock.seconds += 3600
    world.api._store({**orphan, "metadata": {**orphan["metadata"], "ownerReferences": []}})
    world.start_operator()
    changed = world.api._store({**world.api.objects[Key("AudioBatchJob", "team", FIRST_JOB)]})
    assert changed["metadata"]["resourceVersion"] != orphan["metadata"]["resourceVersion"]
    world.api.changes.clear()
    await world.settle()
    assert len(world.jobs) == 1 and world.jobs[0].metadata.owner_references
    assert "waits for the end" in world.schedule.status.conditions[0].message


async def test_a_success_that_a_wrong_clock_dated_is_not_the_last_one() -> None:
    world = hourly()
    await world.wait_until(FIRST)
    world.clock.ahead_seconds = timedelta(days=400).total_seconds()
    world.end(world.jobs[0], "Complete")
    await world.settle()
    assert world.schedule.status.last_successful_time == "2027-12-25T23:00:00Z"
    world.clock.ahead_seconds = 0.0
    await world.wait_until(FIRST + timedelta(minutes=5))
    assert world.schedule.status.last_successful_time is None


async def test_runs_that_start_and_runs_that_are_missed_are_counted() -> None:
    world = hourly()
    await world.wait_until(FIRST)
    world.clock.seconds += 3 * 3600
    world.start_operator()
    await world.settle()
    counted = {
        result: world.registry.get_sample_value("voxfleet_schedule_runs_total", {"result": result})
        for result in ("started", "missed")
    }
    assert counted == {"started": 2, "missed": 2}


async def test_an_ended_job_stays_until_statements_count_its_machine_time() -> None:
    """Of a shard that is gone nobody knows any more whether its time was productive."""
    world = hourly(finishedJobTTLSeconds=0)
    world.api.add(mac_agent("mac-a"))
    await world.wait_until(FIRST)
    usage = {"chainId": "chain", "firstSequence": 0, "lastSequence": 2, "rows": 3, "complete": True}
    shard = shard_with(record(1, "mac-a", AttemptOutcome.SUCCEEDED, AttemptUsage.load(usage))).dump()
    owner = {"apiVersion": API_VERSION, "kind": "AudioBatchJob", "name": FIRST_JOB, "controller": True}
    owner["uid"] = world.jobs[0].metadata.uid
    metadata = {"name": "shard", "namespace": "team", "ownerReferences": [owner]}
    store(world, {**shard, "kind": "AudioShard", "metadata": metadata})
    world.end(world.jobs[0], "Complete")
    await world.wait_until(FIRST + timedelta(minutes=50))
    assert len(world.jobs) == 1
    for sequence, left in ((1, 1), (2, 0)):
        cursor = {"chainId": "chain", "sequence": sequence, "hash": "a" * 64, "ledgerKey": LEDGER_KEY}
        statement = {"metadata": {"name": f"mac-a-{sequence}"}, "spec": {"mac": "mac-a", "month": "2026-11"}}
        store(world, {"kind": "MachineHourStatement", **statement, "status": {"cursors": [cursor]}})
        await world.wait_until(world.clock.now() + timedelta(minutes=2))
        assert len(world.jobs) == left


def store(world: ScheduleWorld, resource: dict[str, Any]) -> None:
    """With its status."""
    world.api._store({**world.api.add(resource), "status": resource["status"]})
