"""A deadline, a cancellation and a suspension stop what runs; what was done is merged or goes on later."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.operator.decisions.bodies import LEASE_SECONDS, job_body
from tests.unit.operator.decisions.job_objects import LATER, NOW, a_job, a_shard, committed, failed, reasons
from tests.unit.operator.decisions.job_states import LIVE
from tests.unit.operator.decisions.test_every_job_ends import MINUTE, lose, processing, until
from tests.unit.operator.decisions.test_job_life_simulation import assert_ended_well, calm, chaos
from tests.unit.operator.decisions.world import MARGIN_SECONDS, World

from voxfleet_api.conditions import ConditionType, Reason, find, is_true
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.audio_shard import AttemptOutcome, Stage
from voxfleet_operator.cache import key_of
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.job.decide import JobSnapshot, plan_job
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job_life import JobWish, has_ended, wish_of
from voxfleet_operator.reconcile.shard.status import is_live, retries_used

NEVER_ENDS = 10**6


async def working(**spec: Any) -> World:
    """Two shards are committed, and one that does not end by itself runs."""
    world = World(seed=6, macs=2)
    world.api.add(job_body(**spec))
    await until(world, lambda: sum(shard.status.clips is not None for shard in world.shards()) >= 2)
    await until(world, lambda: any(processing(agent) for agent in world.agents.values()))
    for agent in world.agents.values():
        for run in agent.runs.values():
            run.left = NEVER_ENDS
    return world


def edit(world: World, **spec: object) -> None:
    stored = world.api.objects[Key("AudioBatchJob", "team", "job")]
    generation = stored["metadata"]["generation"] + 1
    world.api._store(
        {**stored, "spec": {**stored["spec"], **spec}, "metadata": {**stored["metadata"], "generation": generation}}
    )


def assert_merged(world: World, reason: str) -> None:
    job = world.job()
    why = find(job.status.conditions, ConditionType.FAILED)
    assert why is not None and why.reason == reason
    assert job.status.results is not None and job.status.clips.succeeded >= 4 and job.status.clips.not_run >= 2
    assert not any(is_live(shard) for shard in world.shards())
    assert find(job.status.conditions, ConditionType.HALTED) is None


async def test_a_cancelled_job_stops_at_once_and_merges_what_was_done() -> None:
    world = await working()
    edit(world, cancel=True)
    await until(world, lambda: has_ended(world.job()), MINUTE)
    assert_merged(world, Reason.CANCELLED)
    await world.settle()
    assert_ended_well(world)


async def test_a_job_ends_at_its_deadline_although_its_macs_work() -> None:
    world = await working(activeDeadlineSeconds=600)
    start = world.job().status.start_time
    assert start is not None
    took = await until(world, lambda: has_ended(world.job()), 11 * MINUTE, 5)
    assert took > 8 * MINUTE
    assert_merged(world, Reason.DEADLINE_EXCEEDED)


async def test_a_deadline_ends_the_wait_for_a_mac() -> None:
    world = World(seed=6, macs=1)
    world.fleet.reachable.clear()
    world.api.add(job_body(activeDeadlineSeconds=300))
    await until(world, lambda: has_ended(world.job()), 6 * MINUTE, 5)
    why = find(world.job().status.conditions, ConditionType.FAILED)
    assert why is not None and why.reason == Reason.DEADLINE_EXCEEDED


async def test_a_cancelled_job_waits_for_no_lost_mac() -> None:
    world = await working()
    for mac in world.agents:
        lose(world, mac)
    edit(world, cancel=True)
    await until(world, lambda: world.job().status.finalize_time is not None, LEASE_SECONDS + MARGIN_SECONDS + MINUTE)
    await until(world, lambda: has_ended(world.job()), 31 * MINUTE, 20)


async def test_a_job_that_nobody_accepted_can_be_cancelled() -> None:
    world = World(seed=9)
    world.api.add(job_body(contractRef={"name": "missing"}))
    await world.settle(30)
    edit(world, cancel=True)
    await until(world, lambda: has_ended(world.job()), MINUTE)


async def test_a_suspended_job_holds_no_lane_and_goes_on_where_it_was() -> None:
    world = await working(activeDeadlineSeconds=3600)
    edit(world, suspend=True)
    await until(world, lambda: not any(processing(agent) for agent in world.agents.values()), MINUTE)
    await until(world, lambda: not any(is_live(shard) for shard in world.shards()), MINUTE)
    world.clock.seconds += 2 * 3600
    await world.settle(50)
    job = world.job()
    assert is_true(job.status.conditions, ConditionType.SUSPENDED) and job.status.start_time is None
    assert not has_ended(job) and not any(is_live(shard) for shard in world.shards())
    before = world.api.writes
    for _ in range(20):
        world.clock.seconds += 60
        await world.settle(1)
    assert world.api.writes == before, "a suspended job writes nothing"
    edit(world, suspend=False)
    await world.settle()
    assert_ended_well(world)
    assert is_true(world.job().status.conditions, ConditionType.COMPLETE)
    assert find(world.job().status.conditions, ConditionType.SUSPENDED) is None
    records = [record for shard in world.shards() for record in shard.status.attempts]
    assert any(record.outcome is AttemptOutcome.RETURNED for record in records)
    assert all(retries_used(shard.status) == 0 for shard in world.shards()), "a suspension costs no retry"


@pytest.mark.parametrize("spec", [{"suspend": True}, {"cancel": True}])
async def test_the_shards_are_woken_although_their_macs_report_nothing_new(spec: dict[str, Any]) -> None:
    world = await working()
    live = {key_of(shard) for shard in world.shards() if is_live(shard)}
    edit(world, **spec)
    world.deliver()
    world.queue.ready.clear()
    again = await world.reconcilers["AudioBatchJob"].reconcile(Key("AudioBatchJob", "team", "job"))
    assert live and live <= world.queue.ready.keys() and not again


async def test_a_job_that_was_made_suspended_does_not_even_plan() -> None:
    world = World(seed=6)
    world.api.add(job_body(suspend=True))
    await world.settle(50)
    assert world.shards() == [] and is_true(world.job().status.conditions, ConditionType.SUSPENDED)
    edit(world, suspend=False)
    await world.settle()
    assert_ended_well(world)


def _with(job: AudioBatchJob, **status: object) -> AudioBatchJob:
    return job.model_copy(update={"status": job.status.model_copy(update=status)})


@pytest.mark.parametrize(
    ("spec", "reason"), [({"cancel": True}, "Cancelled"), ({"activeDeadlineSeconds": 60}, "DeadlineExceeded")]
)
def test_a_job_that_halted_lets_shards_end_until_it_is_stopped_too(spec: dict[str, Any], reason: str) -> None:
    plain = _with(a_job(), start_time=NOW)
    shards = (failed(plain, 0, "ModelMismatch"), a_shard(plain, Stage.PROCESS, 1, **LIVE))
    halted = _with(
        plain, conditions=plan_job(JobSnapshot(plain, JobShards.of(plain, shards), None), NOW).status.conditions
    )
    assert wish_of(halted, Stage.PROCESS) is JobWish.FINISH
    suspended = _with(a_job(suspend=True), start_time=NOW, conditions=halted.status.conditions)
    assert wish_of(suspended, Stage.PROCESS) is JobWish.FINISH, "for all its shards, as nothing wakes them"
    stopped = _with(a_job(**spec), start_time=NOW, conditions=halted.status.conditions)
    found = plan_job(JobSnapshot(stopped, JobShards.of(stopped, shards), None), LATER).status
    assert reasons(found)["Halted"] == ("True", reason)
    assert wish_of(_with(stopped, conditions=found.conditions), Stage.PROCESS) is JobWish.STOP


def test_the_deadline_counts_from_now_if_the_clock_that_began_it_was_fast() -> None:
    job = _with(a_job(activeDeadlineSeconds=60), start_time=LATER)
    shards = (a_shard(job, Stage.PROCESS, 0, **LIVE), a_shard(job, Stage.PROCESS, 1, **LIVE))
    found = plan_job(JobSnapshot(job, JobShards.of(job, shards), None), NOW)
    assert (found.status.start_time, found.again_seconds) == (NOW, 60)


@pytest.mark.parametrize("spec", [{"suspend": True}, {"cancel": True}, {"activeDeadlineSeconds": 60}])
def test_a_job_whose_shards_have_all_ended_is_merged_and_complete(spec: dict[str, Any]) -> None:
    job = _with(a_job(**spec), start_time=NOW)
    done = (committed(job, Stage.PROCESS, 0, succeeded=60), committed(job, Stage.PROCESS, 1, succeeded=40))
    merging = plan_job(JobSnapshot(job, JobShards.of(job, done), None), LATER).status
    assert merging.finalize_time == LATER and "Suspended" not in reasons(merging)
    merged = _with(job, finalize_time=LATER)
    everything = JobShards.of(merged, (*done, committed(merged, Stage.FINALIZE)))
    assert reasons(plan_job(JobSnapshot(merged, everything, None), LATER).status)["Complete"] == ("True", "Finished")


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), steps=st.lists(st.integers(0, 40), max_size=6), cancelled=st.booleans())
async def test_suspensions_in_any_order_lose_nothing(seed: int, steps: list[int], cancelled: bool) -> None:
    world = World(seed, macs=2)
    world.api.lost_answers = world.fleet.lost_answers = 0.05
    world.api.add(job_body(parallelism=2))
    for turn, count in enumerate(steps):
        await chaos(world, count)
        edit(world, suspend=turn % 2 == 0)
    calm(world)
    edit(world, suspend=False, cancel=cancelled)
    await world.settle()
    await until(world, lambda: not any(is_live(shard) for shard in world.shards()))
    assert_ended_well(world)
