"""The API server was restored from a backup: attempts that it has forgotten were made, and every job ends well."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.memory_fleet import Agent
from tests.unit.operator.decisions.test_every_job_ends import until as until_ended
from tests.unit.operator.decisions.test_isolation import until
from tests.unit.operator.decisions.test_job_life_simulation import calm, chaos
from tests.unit.operator.decisions.world import World

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds import AudioBatchJob, MachineHourStatement
from voxfleet_api.kinds.audio_shard import AttemptOutcome, Stage
from voxfleet_api.protocol import AttemptRequest, AttemptStatus, Problem
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_operator.fleet.mac_view import AgentRefused
from voxfleet_operator.reconcile.job_life import has_ended
from voxfleet_operator.reconcile.shard.decide import MOST_FREE_ENDS
from voxfleet_operator.reconcile.shard.status import free_ends, is_live, retries_used
from voxfleet_operator.reconcile.statement.decide import INTERVAL_SECONDS


def process_shards(world: World) -> list[str]:
    return [shard.metadata.uid for shard in world.shards() if shard.spec.stage is Stage.PROCESS]


async def all_rows_are_settled(world: World) -> None:
    """Returns once statements count every row of every Mac, at the latest an hour after the last one."""
    world.clock.seconds += INTERVAL_SECONDS
    for name in world.agents:
        world.refresh(name)
    await until(world, lambda: not any(world.fleet.view(name).rows for name in world.agents))
    counted = sum(seconds_milliseconds(item.status.machine_seconds) for item in world.api.all(MachineHourStatement))
    assert counted == sum(row.machine_milliseconds for agent in world.agents.values() for row in agent.rows)


async def called_back(world: World, times: int) -> None:
    """A job's attempts are called back and sent again, which costs no retry."""
    for _ in range(times):
        world.api.user_edits("AudioBatchJob", "team", "job", suspend=True)
        await until(world, lambda: not any(map(is_live, world.shards())))
        world.api.user_edits("AudioBatchJob", "team", "job", suspend=False)
        await until(world, lambda: any(map(is_live, world.shards())))


@pytest.mark.parametrize("forgotten", [1, 12])
async def test_attempts_that_the_api_server_has_forgotten_cost_no_retry(forgotten: int) -> None:
    """Each of them left a tombstone: more than there are retries, and yet the shard does not fail."""
    world = World(seed=1, macs=1)
    world.agents["mac-a"].process_ticks = 10**6
    world.api.add(job_body())
    await until(world, lambda: any(key.shard_uid in process_shards(world) for key in world.agents["mac-a"].runs))
    backup = world.api.back_up()
    await called_back(world, forgotten)
    world.api.restore(backup)
    world.start_operator()
    for run in world.agents["mac-a"].runs.values():
        run.left = 1
    world.agents["mac-a"].process_ticks = 2
    await world.settle()
    assert is_true(world.job().status.conditions, ConditionType.COMPLETE)
    first = next(shard for shard in world.shards() if shard.spec.stage is Stage.PROCESS and shard.spec.ordinal == 0)
    assert retries_used(first.status) == 0
    assert (first.status.attempt or 0) > forgotten
    outcomes = [record.outcome for record in first.status.attempts]
    assert outcomes[-1] is AttemptOutcome.SUCCEEDED and set(outcomes[:-1]) == {AttemptOutcome.RETURNED}
    told = [name for name, reason, _ in world.journal.published if reason == "ApiServerRestored"]
    assert bool(told) == (forgotten > 1), "the attempt that still ran was simply found again"
    await all_rows_are_settled(world)


def always_names_a_used_attempt(agent: Agent, ahead: int) -> list[int]:
    """It lies about every shard. Returns the attempts that it was asked to take."""
    asked: list[int] = []

    def refuse(key: AttemptKey, request: AttemptRequest) -> AttemptStatus:
        asked.append(key.attempt)
        raise AgentRefused(410, Problem(message="deleted before", held_attempt=key.attempt + ahead))

    agent.put = refuse  # type: ignore[method-assign] # it lies
    return asked


@pytest.mark.parametrize("ahead", [0, 1000])
async def test_an_agent_that_always_names_a_used_attempt_is_asked_ever_more_rarely_and_not_for_ever(ahead: int) -> None:
    world = World(seed=1, macs=1)
    asked = always_names_a_used_attempt(world.agents["mac-a"], ahead)
    world.api.add(job_body())
    began = world.clock.seconds
    await until(world, lambda: world.clock.seconds > began + 600)
    assert 1 < len(asked) < 16
    await until_ended(world, lambda: has_ended(world.job()), within_seconds=6 * 3600, stride_seconds=10)
    assert is_true(world.job().status.conditions, ConditionType.FAILED)
    (plan,) = world.shards()
    assert len(asked) == MOST_FREE_ENDS + retries_used(plan.status) and free_ends(plan.status) == MOST_FREE_ENDS


@pytest.mark.parametrize("ahead", [0, 1000])
async def test_an_agent_that_always_names_a_used_attempt_holds_up_no_other_mac(ahead: int) -> None:
    world = World(seed=1, macs=2, lanes=2)
    assert always_names_a_used_attempt(world.agents["mac-a"], ahead) == []
    world.api.add(job_body())
    await until_ended(world, lambda: has_ended(world.job()), within_seconds=120)
    assert is_true(world.job().status.conditions, ConditionType.COMPLETE)
    assert {retries_used(shard.status) for shard in world.shards()} == {0}


async def test_a_mac_that_works_on_a_forgotten_attempt_is_emptied_and_named() -> None:
    world = World(seed=1, macs=1)
    agent = world.agents["mac-a"]
    agent.process_ticks = 10**6
    world.api.add(job_body())
    await until(world, lambda: any(key.shard_uid in process_shards(world) for key in agent.runs))
    backup = world.api.back_up()
    await called_back(world, 1)
    await until(world, lambda: any(key.attempt == 2 for key in agent.runs))
    forgotten = next(key for key in agent.runs if key.attempt == 2)
    world.api.restore(backup)
    world.start_operator()
    await until(world, lambda: forgotten not in agent.runs)
    assert ("mac-a", "ApiServerRestored") in [told[:2] for told in world.journal.published]
    await until(world, lambda: any(row.attempt == forgotten for row in world.fleet.view("mac-a").rows))
    world.clock.seconds += INTERVAL_SECONDS
    world.refresh("mac-a")
    await until(world, lambda: not any(row.attempt == forgotten for row in world.fleet.view("mac-a").rows))


@pytest.mark.parametrize("nothing_helps", [False, True])
async def test_rows_of_a_forgotten_attempt_are_settled(nothing_helps: bool) -> None:
    """mac-b has worked on attempts that took over from mac-a, and that the API server has forgotten. Its job then ends
    with what mac-a delivers, or fails while the shard could still get attempts; its Mac is paid in both cases.
    """
    world = World(seed=1, macs=2, lanes=2)
    a, b = world.agents["mac-a"], world.agents["mac-b"]
    a.process_ticks = b.process_ticks = 10**6
    world.api.add(job_body(parallelism=2))
    await until(world, lambda: any(key.shard_uid in process_shards(world) for key in a.runs))
    backup = world.api.back_up()
    world.fleet.reachable.discard("mac-a")
    await until(world, lambda: any(key.attempt == 2 and run.laned for key, run in b.runs.items()))
    world.api.restore(backup)
    world.fleet.reachable.add("mac-a")
    world.start_operator()
    for agent in (a, b):
        agent.process_ticks = 2
        for run in agent.runs.values():
            run.left = 1
    if nothing_helps:
        a.failures, a.failure_rate = (FailureClass.MODEL_MISMATCH,), 1.0
    await until(world, lambda: has_ended(world.job()))
    assert is_true(world.job().status.conditions, ConditionType.COMPLETE) is not nothing_helps
    await all_rows_are_settled(world)
    assert any(row.attempt.attempt == 2 for row in b.rows)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    macs=st.integers(1, 3),
    steps=st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(0, 100)),
)
async def test_every_job_ends_well_although_its_past_was_forgotten(
    seed: int, macs: int, steps: tuple[int, int, int]
) -> None:
    world = World(seed, macs)
    world.api.add(job_body(parallelism=2))
    world.api.lost_answers = world.fleet.lost_answers = 0.05
    await chaos(world, steps[0])
    backup = world.api.back_up()
    await chaos(world, steps[1])
    world.api.restore(backup)
    world.start_operator()
    world.fleet.started.clear()  # numbers of attempts that were forgotten are given anew
    for _ in range(steps[2]):
        await world.reconcile(2)
        world.deliver()
        world.refresh(world.random.choice([*world.agents]))
    calm(world)
    await world.settle()
    job = world.job()
    assert is_true(job.status.conditions, ConditionType.COMPLETE)
    assert job.status.clips.succeeded == 10
    paid = sum(row.machine_milliseconds for agent in world.agents.values() for row in agent.rows)
    assert seconds_milliseconds(job.status.usage.machine_seconds) <= paid, "no row is billed twice"
    left = {key for agent in world.agents.values() for key in agent.runs}
    known = {AttemptKey(shard.metadata.uid, item.attempt) for shard in world.shards() for item in shard.status.attempts}
    assert left <= known
    assert world.api.all(AudioBatchJob)
    await all_rows_are_settled(world)
