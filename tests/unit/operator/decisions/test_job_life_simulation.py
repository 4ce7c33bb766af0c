"""A whole job's life against a world that fails in every order: what must never happen does not, and it ends."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.operator.decisions.bodies import LEASE_SECONDS, job_body
from tests.unit.operator.decisions.world import World

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import ConditionType, Reason, find, is_true
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.audio_batch_job import CLEANUP_FINALIZER
from voxfleet_api.kinds.audio_shard import MAX_ATTEMPTS, AttemptOutcome, Stage
from voxfleet_api.protocol import AttemptState
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.shard.status import is_superseded, retries_used

MACHINE_FAILURES = (FailureClass.GPU_ABORT_TIMEOUT, FailureClass.TRANSPORT, FailureClass.SCRATCH_EXHAUSTED)


async def chaos(world: World, steps: int) -> None:
    """Random steps in random order; after each the invariants hold."""
    random = world.random
    for _ in range(steps):
        match random.randrange(12):
            case 0 | 1 | 2 | 3:
                await world.reconcile(random.randrange(1, 4))
            case 4 | 5:
                world.deliver(random.randrange(1, 5))
            case 6 | 7:
                world.refresh(random.choice([*world.agents]))
            case 8:
                random.choice([*world.agents.values()]).work()
            case 9:
                world.clock.seconds += random.choice([1, 2, 5, LEASE_SECONDS, 2 * LEASE_SECONDS])
            case 10:
                mac = random.choice([*world.agents])
                world.fleet.reachable ^= {mac}
                world.refresh(mac)
            case _:
                if random.random() < 0.3:
                    world.start_operator()
                else:
                    random.choice([*world.agents.values()]).restart()
        assert_never_twice(world)


def assert_never_twice(world: World) -> None:
    """No two Macs work on one shard at the same time: the older attempt's lease had to run out first."""
    for agent in world.agents.values():
        agent.park_expired()
    running: Counter[str] = Counter(
        key.shard_uid
        for agent in world.agents.values()
        for key, run in agent.runs.items()
        if run.state is AttemptState.RUNNING
    )
    assert all(count == 1 for count in running.values()), running
    macs_of_attempt: dict[AttemptKey, set[str]] = {}
    for key, mac in world.fleet.started:
        macs_of_attempt.setdefault(key, set()).add(mac)
    assert all(len(macs) == 1 for macs in macs_of_attempt.values()), macs_of_attempt


def calm(world: World) -> None:
    world.api.lost_answers = world.fleet.lost_answers = 0.0
    world.fleet.reachable |= set(world.agents)
    for agent in world.agents.values():
        agent.failure_rate = 0.0


def assert_ended_well(world: World) -> None:
    job = world.job()
    conditions = job.status.conditions
    complete = is_true(conditions, ConditionType.COMPLETE)
    assert complete != is_true(conditions, ConditionType.FAILED), conditions
    clips = job.status.clips
    assert clips.total == clips.succeeded + clips.failed + clips.quarantined + clips.not_run
    assert (clips.running, clips.pending) == (0, 0)
    assert complete == (clips.succeeded == clips.total == 10)
    assert job.status.usage.settled
    for shard in world.shards():
        numbers = [record.attempt for record in shard.status.attempts]
        newest, retry_limit = shard.status.attempt or 0, world.context.options.retry_limit
        newest -= is_superseded(shard)  # no attempt has the number that closed it
        assert numbers == list(range(newest - len(numbers) + 1, newest + 1)) and len(numbers) <= MAX_ATTEMPTS
        assert retries_used(shard.status) <= retry_limit + 1
        assert all(record.outcome is not AttemptOutcome.ASSIGNED for record in shard.status.attempts)
        winners = [record for record in shard.status.attempts if record.outcome is AttemptOutcome.SUCCEEDED]
        assert len(winners) == (1 if shard.status.commit is not None else 0)
    paid = sum(usage.machine_milliseconds for agent in world.agents.values() for usage in agent.usage.values())
    assert seconds_milliseconds(job.status.usage.machine_seconds) == paid


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    macs=st.integers(1, 3),
    lanes=st.integers(1, 2),
    steps=st.integers(0, 400),
    lost_answers=st.sampled_from([0.0, 0.05, 0.2]),
    failure_rate=st.sampled_from([0.0, 0.3]),
)
@example(seed=29327539, macs=3, lanes=1, steps=372, lost_answers=0.2, failure_rate=0.0)  # a shard is split
async def test_any_order_of_losses_lags_and_restarts(
    seed: int, macs: int, lanes: int, steps: int, lost_answers: float, failure_rate: float
) -> None:
    world = World(seed, macs, lanes)
    world.api.lost_answers = world.fleet.lost_answers = lost_answers
    for agent in world.agents.values():
        agent.failures, agent.failure_rate = MACHINE_FAILURES, failure_rate
    world.api.add(job_body(parallelism=2))
    await chaos(world, steps)
    calm(world)
    await world.settle()
    assert_ended_well(world)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(0, 250), before=st.integers(0, 60))
async def test_a_deleted_job_leaves_nothing_on_any_mac(seed: int, steps: int, before: int) -> None:
    world = World(seed)
    world.api.add(job_body())
    await chaos(world, before)
    world.api.user_deletes(AudioBatchJob, "team", "job")
    world.api.lost_answers = world.fleet.lost_answers = 0.1
    await chaos(world, steps)
    calm(world)
    await world.settle(300)
    assert world.shards() == [] and world.api.all(AudioBatchJob) == []
    assert [key for agent in world.agents.values() for key in agent.runs] == []


async def test_a_job_without_trouble_runs_each_shard_once_and_says_so() -> None:
    world = World(seed=1)
    world.api.add(job_body())
    await world.settle()
    job = world.job()
    assert_ended_well(world)
    assert CLEANUP_FINALIZER in job.metadata.finalizers
    assert [shard.metadata.name for shard in world.shards()] == [
        "job-00000", "job-00001", "job-00002", "job-00003", "job-00004", "job-finalize", "job-plan",
    ]  # fmt: skip
    assert all(shard.status.attempt == 1 for shard in world.shards())
    assert job.status.macs == ("mac-a", "mac-b")
    assert (job.status.usage.machine_seconds, job.status.usage.productive_seconds) == ("5.550", "5.000")
    assert (job.status.usage.retry_seconds, job.status.usage.overhead_seconds) == ("0.000", "0.550")
    assert job.status.results is not None and job.status.results.uri.endswith("/index.json")
    states = [reason for name, reason, _ in world.journal.published if name == "job"]
    assert states == ["Accepted", "Planning", "Running", "Finalizing", "Finished"]


async def test_a_small_job_stays_in_its_write_budget() -> None:
    world = World(seed=2)
    await world.settle(50)
    before = world.api.writes
    world.api.add(job_body())
    await world.settle()
    shards = len(world.shards())
    # A creation, an assignment and a commit a shard; the rest are the job's own turns and its progress.
    assert world.api.writes - before - 3 * shards <= 12


async def test_a_quiet_fleet_writes_nothing() -> None:
    world = World(seed=3)
    world.api.add(job_body())
    await world.settle()
    before = world.api.writes
    for _ in range(50):
        for name in world.agents:
            world.refresh(name)
        while world.queue.ready:
            await world.reconcile()
        world.clock.seconds += 60
    assert world.api.writes == before


async def test_a_mac_that_is_gone_for_good_is_replaced_after_its_lease_and_its_time_is_retry() -> None:
    world = World(seed=4)
    world.api.add(job_body())
    while not any(run.laned for run in world.agents["mac-a"].runs.values()):
        await world.settle(1)
    lost = next(key for key, run in world.agents["mac-a"].runs.items() if run.laned)
    world.fleet.reachable.discard("mac-a")
    await world.settle()
    job = world.job()
    assert is_true(job.status.conditions, ConditionType.COMPLETE)
    assert not job.status.usage.settled, "the lost Mac still owes the rows of its attempt"
    shard = next(shard for shard in world.shards() if shard.metadata.uid == lost.shard_uid)
    assert [(record.mac, record.outcome) for record in shard.status.attempts] == [
        ("mac-a", AttemptOutcome.LOST),
        ("mac-b", AttemptOutcome.SUCCEEDED),
    ]
    world.fleet.reachable.add("mac-a")
    await world.settle()
    assert_ended_well(world)
    assert lost not in world.agents["mac-a"].runs, "what it brings back is deleted there"
    assert world.job().status.usage.overhead_seconds == "0.660"


async def test_a_late_result_is_ignored() -> None:
    world = World(seed=5)
    world.api.add(job_body())
    while not any(run.laned for run in world.agents["mac-a"].runs.values()):
        await world.settle(1)
    agent = world.agents["mac-a"]
    late = next(key for key, run in agent.runs.items() if run.laned)
    run = agent.runs[late]
    run.left = 1000
    world.fleet.reachable.discard("mac-a")
    while all(shard.status.attempt != 2 for shard in world.shards()):
        await world.settle(1)
    assert run.state is AttemptState.PARKED, "its lease ran out before the next attempt was assigned"
    run.state, run.left, agent.renewed_seconds = AttemptState.RUNNING, 1, world.clock.seconds
    agent.work()
    world.fleet.reachable.add("mac-a")
    await world.settle()
    assert_ended_well(world)
    shard = next(shard for shard in world.shards() if shard.metadata.uid == late.shard_uid)
    assert shard.status.commit is not None and shard.status.commit.attempt == 2
    assert world.job().status.usage.retry_seconds == "1.000"


async def test_a_fault_of_the_job_fails_it_at_once_and_the_rest_does_not_run() -> None:
    world = World(seed=6, macs=1)
    world.api.add(job_body())
    agent = world.agents["mac-a"]
    while not any(run.spec.stage is Stage.PROCESS for run in agent.runs.values()):
        await world.settle(1)
    agent.failures, agent.failure_rate = (FailureClass.MODEL_MISMATCH,), 1.0
    while not any(run.failure for run in agent.runs.values()):
        await world.settle(1)
    agent.failure_rate = 0.0
    await world.settle()
    assert_ended_well(world)
    failed = find(world.job().status.conditions, ConditionType.FAILED)
    assert failed is not None and failed.reason == "ModelMismatch"
    assert world.job().status.clips.not_run == 10
    assert world.job().status.results is not None, "a failed job is finalized too"
    assert all(record.attempt == 1 for shard in world.shards() for record in shard.status.attempts)


async def test_retries_end_at_their_limit() -> None:
    world = World(seed=7, macs=1)
    world.agents["mac-a"].failures, world.agents["mac-a"].failure_rate = (FailureClass.GPU_ABORT_TIMEOUT,), 1.0
    world.api.add(job_body())
    await world.settle(20_000)
    failed = find(world.job().status.conditions, ConditionType.FAILED)
    assert failed is not None and failed.reason == Reason.ATTEMPTS_EXHAUSTED
    (plan,) = world.shards()
    assert plan.status.attempt == world.context.options.retry_limit + 1


async def test_a_missing_secret_blocks_its_job_alone() -> None:
    world = World(seed=8)
    world.api.add(job_body("blocked", credentialsSecretRef={"name": "s3"}))
    world.api.add(job_body())
    await world.settle(300)
    accepted = find(world.job("blocked").status.conditions, ConditionType.ACCEPTED)
    assert accepted is not None and (accepted.status, accepted.reason) == ("False", "SecretNotFound")
    assert "team/s3" in accepted.message and "AWS_ACCESS_KEY_ID" in accepted.message
    assert is_true(world.job().status.conditions, ConditionType.COMPLETE)
    world.api.secrets["team", "s3"] = {"AWS_ACCESS_KEY_ID": b"id", "AWS_SECRET_ACCESS_KEY": b"secret"}
    await world.settle()
    assert is_true(world.job("blocked").status.conditions, ConditionType.COMPLETE)
    assert find(world.job("blocked").status.conditions, ConditionType.STALLED) is None


async def test_a_job_waits_for_its_contract() -> None:
    world = World(seed=9)
    world.api.add(job_body(contractRef={"name": "late"}))
    await world.settle(100)
    accepted = find(world.job().status.conditions, ConditionType.ACCEPTED)
    assert accepted is not None and (accepted.status, accepted.reason) == ("False", "ContractNotFound")
    assert is_true(world.job().status.conditions, ConditionType.STALLED), "its grace ended without any other event"
    body = dict(world.api.objects[Key("VoiceContract", "team", "contract")])
    world.api.add({**body, "metadata": {"name": "late", "namespace": "team"}})
    await world.settle()
    assert_ended_well(world)


@pytest.mark.parametrize("annotated", [False, True])
async def test_a_silent_mac_holds_up_a_deletion_for_a_quarter_of_an_hour_or_not_at_all(annotated: bool) -> None:
    world = World(seed=10)
    world.api.add(job_body())
    while len(world.job().status.macs) < 2:
        await world.settle(1)
    world.fleet.reachable.discard("mac-a")
    world.refresh("mac-a")
    if annotated:
        stored = world.api.objects[Key("AudioBatchJob", "team", "job")]
        stored["metadata"]["annotations"] = {"voxfleet.dev/force-delete": ""}
    world.api.user_deletes(AudioBatchJob, "team", "job")
    started = world.clock.seconds
    while world.api.all(AudioBatchJob):
        await world.settle(1)
        assert world.clock.seconds - started < 1000
    assert (world.clock.seconds - started < 60) == annotated
    assert (world.clock.seconds - started >= 900) != annotated
    assert any(reason == "CleanupIncomplete" for _, reason, _ in world.journal.published)
    world.fleet.reachable.add("mac-a")
    await world.settle(50)
    assert world.agents["mac-a"].runs == {}, "what is left there is an orphan"


async def test_an_attempt_that_its_mac_never_heard_of_is_sent_when_it_comes_back() -> None:
    world = World(seed=11, macs=1)
    world.api.add(job_body())
    while not any(shard.status.attempt for shard in world.shards()):
        world.deliver()
        world.refresh("mac-a")
        await world.reconcile()
    assert world.agents["mac-a"].runs == {}
    world.fleet.reachable.discard("mac-a")
    world.refresh("mac-a")
    for _ in range(5):
        world.clock.seconds += LEASE_SECONDS
        while world.queue.ready:
            world.deliver()
            await world.reconcile()
    calm(world)
    await world.settle()
    assert_ended_well(world)
    assert all(shard.status.attempt == 1 for shard in world.shards())


async def test_a_job_says_why_nothing_takes_its_next_shard() -> None:
    world = World(seed=12)
    world.fleet.reachable.clear()
    world.api.add(job_body())
    await world.settle(100)
    assert world.job().status.pending_reason == "0/2 Macs fit: 2 unreachable (mac-a: no route to host)"
    calm(world)
    await world.settle()
    assert_ended_well(world)
    assert world.job().status.pending_reason is None
