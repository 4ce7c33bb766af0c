"""Every wait in a job's life has a bound: it ends whatever becomes of its Macs and its Secret."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.operator.decisions.bodies import LEASE_SECONDS, contract, job_body
from tests.unit.operator.decisions.job_objects import LATER, NOW, a_job, a_shard, committed, failed, reasons
from tests.unit.operator.decisions.job_states import LIVE
from tests.unit.operator.decisions.memory_fleet import Agent
from tests.unit.operator.decisions.test_job_life_simulation import MACHINE_FAILURES, chaos
from tests.unit.operator.decisions.world import MARGIN_SECONDS, World

from voxfleet_api.conditions import ConditionType, Reason, find, is_true
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import AttemptOutcome, Stage
from voxfleet_api.protocol import AttemptState
from voxfleet_operator.reconcile.deletion_deadline import FORCE_ANNOTATION
from voxfleet_operator.reconcile.job.decide import FINALIZE_SECONDS, JobSnapshot, plan_job
from voxfleet_operator.reconcile.job.deletion import plan_deletion
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job_life import has_ended
from voxfleet_operator.reconcile.shard.new_shard import NewShard, shard_body

MINUTE = 60.0


def processing(agent: Agent) -> bool:
    return any(run.spec.stage is Stage.PROCESS and run.state is AttemptState.RUNNING for run in agent.runs.values())


async def until(
    world: World, what: Callable[[], bool], within_seconds: float = 30 * MINUTE, stride_seconds: float = 0
) -> float:
    """The seconds that it took. With a stride, time leaps whenever nothing is ready."""
    start = world.clock.seconds
    while not what():
        await world.settle(1)
        if stride_seconds and not world.queue.ready:
            world.clock.seconds += stride_seconds
            for name, agent in world.agents.items():
                agent.work()
                world.refresh(name)
        assert world.clock.seconds - start <= within_seconds, world.job().status.conditions
    return world.clock.seconds - start


def lose(world: World, mac: str) -> None:
    world.fleet.reachable.discard(mac)
    world.refresh(mac)


async def halted_with_a_lost_mac(*, lost_first: bool) -> World:
    """mac-b is gone for ever while it works, and a shard on mac-a fails for a reason of the job."""
    world = World(seed=6, macs=2)
    world.api.add(job_body())
    a, b = world.agents["mac-a"], world.agents["mac-b"]
    await until(world, lambda: processing(a) and processing(b))
    for run in b.runs.values():
        run.left = 10**6
    if lost_first:
        lose(world, "mac-b")
        for run in a.runs.values():
            run.left = 10**6
        world.clock.seconds += 3 * (LEASE_SECONDS + MARGIN_SECONDS)
        a.renewed_seconds = world.clock.seconds
        world.refresh("mac-a")
        world.queue.tick()
        while world.queue.ready:
            await world.reconcile()
            world.deliver()
        for run in a.runs.values():
            run.left = 1
    a.failures, a.failure_rate = (FailureClass.MODEL_MISMATCH,), 1.0
    await until(world, lambda: any(run.failure is not None for run in a.runs.values()))
    a.failure_rate = 0.0
    lose(world, "mac-b")
    return world


@pytest.mark.parametrize("lost_first", [False, True])
async def test_a_halted_job_waits_for_no_lost_mac(lost_first: bool) -> None:
    world = await halted_with_a_lost_mac(lost_first=lost_first)
    took = await until(world, lambda: has_ended(world.job()))
    assert took < LEASE_SECONDS + MARGIN_SECONDS + MINUTE
    job = world.job()
    why = find(job.status.conditions, ConditionType.FAILED)
    assert why is not None and why.reason == FailureClass.MODEL_MISMATCH
    assert job.status.results is not None and job.status.clips.not_run == 10, "a failed job is finalized too"
    assert [(record.mac, record.outcome) for shard in world.shards() for record in shard.status.attempts][:2] == [
        ("mac-a", AttemptOutcome.FAILED),
        ("mac-b", AttemptOutcome.LOST),
    ]
    world.fleet.reachable.add("mac-b")
    await world.settle()
    assert world.job().status.usage.settled, "what the lost Mac brings back is paid"


async def test_a_halted_job_starts_and_resumes_nothing() -> None:
    """A Mac that restarts has parked its attempt: a halted job takes it back instead of waiting for its Secret."""
    world = World(seed=6, macs=2)
    world.api.add(job_body())
    a, b = world.agents["mac-a"], world.agents["mac-b"]
    await until(world, lambda: processing(a) and processing(b))
    for run in b.runs.values():
        run.left = 10**6
    a.failures, a.failure_rate = (FailureClass.MODEL_MISMATCH,), 1.0
    await until(world, lambda: is_true(world.job().status.conditions, ConditionType.HALTED))
    a.failure_rate = 0.0
    assert processing(b) and not has_ended(world.job()), "what runs may end"
    b.restart()
    await until(world, lambda: has_ended(world.job()), MINUTE)


async def finalizing(seed: int) -> World:
    world = World(seed, macs=1)
    world.api.add(job_body())
    await until(world, lambda: any(shard.spec.stage is Stage.FINALIZE for shard in world.shards()))
    return world


async def test_results_are_merged_within_half_an_hour_or_the_job_fails_without_them() -> None:
    world = await finalizing(seed=1)
    lose(world, "mac-a")
    took = await until(world, lambda: has_ended(world.job()), 31 * MINUTE, 20)
    assert took >= FINALIZE_SECONDS - MINUTE
    job = world.job()
    why = find(job.status.conditions, ConditionType.FAILED)
    assert why is not None and why.reason == Reason.FINALIZE_DEADLINE_EXCEEDED
    assert "within 30 minutes: 0/1 Macs fit: 1 unreachable" in why.message
    assert job.status.results is None and job.status.clips.succeeded == 10


async def test_the_half_hour_outlives_the_operator() -> None:
    world = await finalizing(seed=1)
    lose(world, "mac-a")
    start = world.clock.seconds
    while not has_ended(world.job()):
        world.start_operator()
        lose(world, "mac-a")
        for _ in range(20):
            await world.settle(10)
            world.clock.seconds += 10
        assert world.clock.seconds - start < FINALIZE_SECONDS + 5 * MINUTE


async def test_results_that_were_merged_while_no_operator_listened_are_not_thrown_away() -> None:
    world = await finalizing(seed=1)
    agent = world.agents["mac-a"]
    await until(world, lambda: any(run.spec.stage is Stage.FINALIZE for run in agent.runs.values()))
    for run in agent.runs.values():
        run.left = 1
    agent.renewed_seconds = world.clock.seconds
    agent.work()
    world.clock.seconds += FINALIZE_SECONDS + MINUTE
    world.start_operator()
    lose(world, "mac-a")  # the new leader has yet to dial it
    await world.settle(LEASE_SECONDS)
    assert not has_ended(world.job())
    world.fleet.reachable.add("mac-a")
    world.refresh("mac-a")
    await until(world, lambda: has_ended(world.job()), MINUTE)
    assert world.job().status.results is not None
    assert is_true(world.job().status.conditions, ConditionType.COMPLETE)


@pytest.mark.parametrize(
    ("lease_seconds", "counted_seconds", "left_seconds"),
    [
        (30, 0, 180),
        (30, 179, 1),
        (30, 180, None),
        (600, 300, 310),
        (600, 609, 1),
        (600, 610, None),
        (30, math.inf, None),
    ],
)
def test_a_new_leader_waits_for_the_mac_that_merges_at_least_its_lease_and_margin(
    lease_seconds: int, counted_seconds: float, left_seconds: float | None
) -> None:
    job = a_job()
    late = job.model_copy(update={"status": job.status.model_copy(update={"finalize_time": NOW})})
    done = (committed(job, Stage.PROCESS, 0, succeeded=60), committed(job, Stage.PROCESS, 1, succeeded=40))
    shards = JobShards.of(late, (*done, a_shard(job, Stage.FINALIZE, **LIVE, leaseSeconds=lease_seconds)))
    snapshot = JobSnapshot(late, shards, None, counted_seconds=counted_seconds, lost_margin_seconds=10.0)
    found = plan_job(snapshot, LATER)
    assert found.again_seconds == left_seconds
    assert (reasons(found.status).get("Failed") is None) is (left_seconds is not None)


def test_the_half_hour_counts_from_now_if_the_clock_that_began_it_was_fast() -> None:
    job = a_job()
    late = job.model_copy(update={"status": job.status.model_copy(update={"finalize_time": LATER})})
    done = (committed(job, Stage.PROCESS, 0, succeeded=60), committed(job, Stage.PROCESS, 1, succeeded=40))
    found = plan_job(JobSnapshot(late, JobShards.of(late, done), None), NOW)
    assert (found.status.finalize_time, found.again_seconds) == (NOW, FINALIZE_SECONDS)


@pytest.mark.parametrize(
    ("finalized_minutes_ago", "unled_minutes", "left_seconds"),
    [
        (90, 85, 25 * 60),  # led for five of them
        (90, 95, 30 * 60),
        (90, 50, 180),  # led for 40
        (10, 0, 20 * 60),
        (10, -5, 20 * 60),  # of two clocks, one is ahead
        (90, None, 180),
    ],
)
def test_the_time_in_which_nobody_led_is_no_time_to_merge_results(
    finalized_minutes_ago: int, unled_minutes: int | None, left_seconds: float
) -> None:
    now = datetime.fromisoformat(LATER)
    began = now - timedelta(minutes=finalized_minutes_ago)
    job = a_job()
    late = job.model_copy(
        update={"status": job.status.model_copy(update={"finalize_time": began.strftime("%Y-%m-%dT%H:%M:%SZ")})}
    )
    done = (committed(job, Stage.PROCESS, 0, succeeded=60), committed(job, Stage.PROCESS, 1, succeeded=40))
    unled = None if unled_minutes is None else (now - timedelta(minutes=unled_minutes), now)
    snapshot = JobSnapshot(late, JobShards.of(late, done), None, counted_seconds=0.0, unled=unled)
    assert plan_job(snapshot, LATER).again_seconds == left_seconds


async def test_an_ended_job_gives_up_an_attempt_on_a_lost_mac() -> None:
    world = await finalizing(seed=1)
    await until(world, lambda: any(run.spec.stage is Stage.FINALIZE for run in world.agents["mac-a"].runs.values()))
    lose(world, "mac-a")
    await until(world, lambda: has_ended(world.job()), 31 * MINUTE, 20)
    await world.settle(100)
    (last,) = [shard for shard in world.shards() if shard.spec.stage is Stage.FINALIZE]
    assert [record.outcome for record in last.status.attempts] == [AttemptOutcome.LOST]


def test_a_job_that_failed_anyway_keeps_its_reason_when_its_results_are_late() -> None:
    job = a_job()
    late = job.model_copy(update={"status": job.status.model_copy(update={"finalize_time": NOW})})
    done = (committed(job, Stage.PROCESS, 0, succeeded=60), failed(job, 1, "ModelMismatch"))
    shards = (*done, a_shard(job, Stage.FINALIZE, **LIVE))
    found = plan_job(JobSnapshot(late, JobShards.of(late, shards), None), LATER)
    assert reasons(found.status)["Failed"] == ("True", "ModelMismatch")
    why = find(found.status.conditions, ConditionType.FAILED)
    assert why is not None and why.message.endswith("why; the results were not merged within 30 minutes")


def test_a_halt_is_recorded_once_and_never_taken_back() -> None:
    """More commits may dilute the quarantined part of a job that has stopped fanning out; it stays halted."""
    job = a_job()
    halting = contract(quarantine={"haltFanOutPercent": 10})["spec"]
    assert job.status.contract is not None
    accepted = job.status.contract.model_copy(update={"spec": type(job.status.contract.spec).load(halting)})
    job = job.model_copy(update={"status": job.status.model_copy(update={"contract": accepted})})
    poisoned = committed(job, Stage.PROCESS, 0, succeeded=50, quarantined=10)
    shards = JobShards.of(job, (poisoned, a_shard(job, Stage.PROCESS, 1, **LIVE)))
    first = plan_job(JobSnapshot(job, shards, None), NOW).status
    assert reasons(first)["Halted"] == ("True", "QuarantineLimitExceeded")
    halted = job.model_copy(update={"status": first})
    diluted = committed(job, Stage.PROCESS, 0, succeeded=5900, quarantined=10)
    again = JobShards.of(halted, (diluted, a_shard(job, Stage.PROCESS, 1, **LIVE)))
    assert again.halted and reasons(plan_job(JobSnapshot(halted, again, None), NOW).status)["Halted"][0] == "True"


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(0, 200), lost_answers=st.sampled_from([0.0, 0.1]))
async def test_a_job_ends_although_only_one_mac_is_ever_seen_again(seed: int, steps: int, lost_answers: float) -> None:
    world = World(seed, macs=3)
    world.api.lost_answers = world.fleet.lost_answers = lost_answers
    for agent in world.agents.values():
        agent.failures, agent.failure_rate = (*MACHINE_FAILURES, FailureClass.MODEL_MISMATCH), 0.2
    world.api.add(job_body(parallelism=3))
    await chaos(world, steps)
    world.api.lost_answers = world.fleet.lost_answers = 0.0
    world.fleet.reachable = {"mac-a"}
    for mac in world.agents:
        world.refresh(mac)
    await until(world, lambda: has_ended(world.job()), 4 * 60 * MINUTE, 5)


async def test_a_shard_name_that_another_object_has_is_told_and_ends_with_it() -> None:
    world = World(seed=2)
    world.api.add(job_body())
    other = shard_body(a_job(), NewShard(Stage.PLAN))
    world.api.add({**other, "spec": {**other["spec"], "jobRef": {"name": "job", "uid": "another-uid"}}})  # type: ignore[dict-item] # a body
    world.api.collect_garbage = lambda: None  # type: ignore[method-assign] # its owner is not of this world
    await world.settle(100)
    stalled = find(world.job().status.conditions, ConditionType.STALLED)
    assert stalled is not None and stalled.reason == "ShardNameTaken" and "job-plan" in stalled.message
    assert [reason for _, reason, _ in world.journal.published].count("ShardNameTaken") == 1
    world.api.user_deletes(AudioShard, "team", "job-plan")
    await until(world, lambda: is_true(world.job().status.conditions, ConditionType.COMPLETE))
    assert find(world.job().status.conditions, ConditionType.STALLED) is None


@pytest.mark.parametrize(
    ("minutes", "annotations", "finishes"),
    [(1, {}, False), (16, {}, True), (1, {FORCE_ANNOTATION: ""}, True)],
)
def test_a_deletion_waits_for_a_mac_that_was_never_dialled_no_longer_than_for_others(
    minutes: int, annotations: dict[str, str], finishes: bool
) -> None:
    job = a_job()
    metadata = job.metadata.model_copy(update={"deletion_timestamp": NOW, "annotations": annotations})
    gone = job.model_copy(update={"metadata": metadata})
    now = datetime.fromisoformat(NOW) + timedelta(minutes=minutes)
    deletion = plan_deletion(gone, JobShards(()), {"mac-a"}, {}, set(), now)
    assert deletion.finish is finishes
    assert finishes or deletion.unreachable == ("mac-a",)
