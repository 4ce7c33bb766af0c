"""A finished and settled job keeps its bill, whatever becomes of its shards."""

from __future__ import annotations

from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.world import World

from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_operator.reconcile.job.decide import JobSnapshot, plan_job
from voxfleet_operator.reconcile.job.shards import JobShards

NOW = "2026-11-20T22:00:00Z"


async def test_a_settled_status_does_not_change_when_the_shards_are_gone() -> None:
    world = World(seed=3)
    world.api.add(job_body())
    await world.settle()
    job = world.job()
    assert is_true(job.status.conditions, ConditionType.COMPLETE) and job.status.usage.settled
    assert plan_job(JobSnapshot(job, JobShards(()), None), NOW).status == job.status


async def test_an_ended_job_that_is_not_settled_still_counts() -> None:
    world = World(seed=3)
    world.api.add(job_body())
    await world.settle()
    job = world.job()
    open_usage = job.status.usage.model_copy(update={"settled": False})
    unsettled = job.model_copy(update={"status": job.status.model_copy(update={"usage": open_usage})})
    found = plan_job(JobSnapshot(unsettled, JobShards(tuple(world.shards())), None), NOW).status
    assert found.usage == job.status.usage
