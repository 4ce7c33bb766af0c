"""A finished and settled job keeps its bill, whatever becomes of its shards."""

from __future__ import annotations

from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.test_every_job_ends import lose, processing, until
from tests.unit.operator.decisions.world import World

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.kinds import MacAgent
from voxfleet_api.protocol import AttemptState
from voxfleet_operator.reconcile.job.decide import JobSnapshot, plan_job
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job_life import has_ended
from voxfleet_operator.reconcile.shard.missing_rows import LOOK_SECONDS, WAITED

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


async def with_a_mac_that_stays_away() -> World:
    """It ran for a while, and nobody will ever see its rows."""
    world = World(seed=3, macs=2)
    world.api.add(job_body())
    await until(world, lambda: processing(world.agents["mac-b"]))
    lose(world, "mac-b")
    await until(world, lambda: has_ended(world.job()), 3600, 4)
    return world


async def test_the_bill_of_a_job_waits_a_week_for_a_mac_that_stays_away() -> None:
    world = await with_a_mac_that_stays_away()
    await leap(world, WAITED.total_seconds() - 3600)
    assert not world.job().status.usage.settled
    await leap(world, 2 * 3600)
    usage = world.job().status.usage
    assert usage.settled and usage.unverified_attempts == 1
    await leap(world, 2 * 3600)
    assert world.shards() == [], "nothing is kept for it any longer"


async def test_the_bill_waits_no_longer_for_a_mac_in_contact_that_never_ends_an_attempt() -> None:
    world = World(seed=3, macs=2)
    world.api.add(job_body())
    agent = world.agents["mac-b"]
    await until(world, lambda: processing(agent))
    world.refresh("mac-b")  # the operator has heard of it

    def never_ends(key: AttemptKey) -> bool:
        agent.runs[key].state = AttemptState.DELETING
        return False

    agent.delete = never_ends  # type: ignore[method-assign] # an agent with a fault
    world.api.user_edits("AudioBatchJob", "team", "job", cancel=True)
    await until(world, lambda: has_ended(world.job()), 3600, 4)
    world.clock.seconds += WAITED.total_seconds() - 7200
    await leap(world, 3600)
    assert not world.job().status.usage.settled
    await leap(world, 2 * 3600)
    usage = world.job().status.usage
    assert usage.settled and usage.unverified_attempts == 1


async def test_who_deletes_the_macagent_ends_the_wait() -> None:
    world = await with_a_mac_that_stays_away()
    world.api.user_deletes(MacAgent, "", "mac-b")
    await leap(world, 2 * LOOK_SECONDS)
    usage = world.job().status.usage
    assert usage.settled and usage.unverified_attempts == 1


async def test_a_mac_that_returns_in_time_is_waited_for_and_counted() -> None:
    world = await with_a_mac_that_stays_away()
    await leap(world, 24 * 3600)
    world.fleet.reachable.add("mac-b")
    await leap(world, 3600)
    usage = world.job().status.usage
    assert usage.settled and usage.unverified_attempts == 0
    signed = sum(item.machine_milliseconds for agent in world.agents.values() for item in agent.usage.values())
    assert usage.machine_seconds == f"{signed / 1000:.3f}"


async def leap(world: World, seconds: float) -> None:
    """Time passes in strides, as long as nothing is ready."""
    end = world.clock.seconds + seconds
    while world.clock.seconds < end:
        await world.settle(1)
        if not world.queue.ready:
            world.clock.seconds += 600
            for name in world.agents:
                world.refresh(name)
