"""A job stops at its maxMachineSeconds: what it has used is never taken for less than it is, and lanes are freed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.operator.decisions.bodies import LEASE_SECONDS, job_body
from tests.unit.operator.decisions.job_objects import LATER, NOW, a_job, a_shard, committed, reasons
from tests.unit.operator.decisions.job_states import LIVE
from tests.unit.operator.decisions.test_every_job_ends import MINUTE, lose, processing, until
from tests.unit.operator.decisions.test_job_life_simulation import assert_ended_well, calm
from tests.unit.operator.decisions.test_stopping_jobs import assert_merged, edit, working
from tests.unit.operator.decisions.world import MARGIN_SECONDS, World

from voxfleet_api.conditions import ConditionType, Reason, find, is_true
from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_api.kinds.audio_shard import AttemptOutcome, Stage
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_operator.metering.usage import UsageBound, usage_bound
from voxfleet_operator.reconcile.job.decide import JobSnapshot, plan_job
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job_life import JobWish, has_ended, wish_of
from voxfleet_operator.reconcile.shard.status import attempt_ended, current, with_usages

STOP_SECONDS = 5
"""In this world: until a pass has seen that time is up, and the Mac has answered the DELETE."""
AN_HOUR = 3600


def usage(seconds: int, *, complete: bool) -> dict[str, object]:
    return {
        "chainId": "c",
        "firstSequence": 0,
        "lastSequence": 2,
        "rows": 3,
        "workMilliseconds": 1000 * seconds,
        "complete": complete,
    }


def attempt(number: int, outcome: str, **fields: object) -> dict[str, Any]:
    return {"attempt": number, "mac": "mac-a", "outcome": outcome, **fields}


def shard(job: AudioBatchJob, ordinal: int, *attempts: dict[str, Any], **status: object) -> AudioShard:
    newest = attempts[-1]["attempt"] if attempts else None
    return a_shard(job, Stage.PROCESS, ordinal, attempt=newest, attempts=list(attempts), **status)


CASES: dict[str, tuple[list[dict[str, Any]], dict[str, object], UsageBound]] = {
    "nothing was tried": ([], {}, UsageBound(0, 0)),
    "verified": ([attempt(1, "Succeeded", usage=usage(40, complete=True), heldSeconds=99)], {}, UsageBound(40, 0)),
    "it works since an hour": ([attempt(1, "Assigned")], {"assignedAt": NOW}, UsageBound(AN_HOUR, 1)),
    "its rows are expected": ([attempt(1, "Succeeded", heldSeconds=70)], {}, UsageBound(70, 0)),
    "some of its rows are here": (
        [attempt(1, "Lost", usage=usage(90, complete=False), heldSeconds=70)],
        {},
        UsageBound(90, 0),
    ),
    "one is lost, the next works": (
        [attempt(1, "Lost", heldSeconds=70), attempt(2, "Assigned")],
        {"assignedAt": NOW},
        UsageBound(AN_HOUR + 70, 1),
    ),
    "old ones are summed up": (
        [attempt(9, "Returned", usage=usage(1, complete=True))],
        {"folded": {"workMilliseconds": 5000, "cleanupMilliseconds": 500}},
        UsageBound(6.5, 0),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_shard_can_have_used(name: str) -> None:
    attempts, status, bound = CASES[name]
    assert usage_bound([shard(a_job(), 0, *attempts, **status)], datetime.fromisoformat(LATER), {}) == bound


def test_a_lane_of_a_lost_mac_uses_nothing_but_may_come_back() -> None:
    live = shard(a_job(), 0, attempt(1, "Assigned"), assignedAt=NOW)
    now = datetime.fromisoformat(LATER)
    assert usage_bound([live], now, {live.metadata.uid: AN_HOUR - 70}) == UsageBound(70, 1)
    assert usage_bound([live], now, {"another": AN_HOUR - 70}) == UsageBound(AN_HOUR, 1)


def test_plan_and_finalize_hold_no_lane() -> None:
    job = a_job()
    others = [a_shard(job, stage, assignedAt=NOW, **LIVE) for stage in (Stage.PLAN, Stage.FINALIZE)]
    assert usage_bound(others, datetime.fromisoformat(LATER), {}) == UsageBound(0, 0)


@pytest.mark.parametrize(
    ("limit", "halted", "again_seconds"),
    [(AN_HOUR, True, None), (AN_HOUR + 1, False, 1.0), (2 * AN_HOUR, False, AN_HOUR), (1, True, None)],
)
def test_the_job_looks_again_when_its_time_can_be_up(limit: int, halted: bool, again_seconds: float | None) -> None:
    job = a_job(maxMachineSeconds=limit)
    shards = JobShards.of(job, (shard(job, 0, attempt(1, "Assigned"), assignedAt=NOW), a_shard(job, Stage.PROCESS, 1)))
    decision = plan_job(JobSnapshot(job, shards, None), LATER)
    assert ("Halted" in reasons(decision.status)) is halted
    assert decision.again_seconds == again_seconds
    if halted:
        assert reasons(decision.status)["Halted"] == ("True", Reason.MAX_MACHINE_SECONDS_EXCEEDED)
        stopped = job.model_copy(update={"status": decision.status})
        assert wish_of(stopped, Stage.PROCESS) is JobWish.STOP
        more = stopped.model_copy(update={"spec": job.spec.model_copy(update={"max_machine_seconds": None})})
        assert reasons(plan_job(JobSnapshot(more, shards, None), LATER).status)["Halted"][1] == (
            Reason.MAX_MACHINE_SECONDS_EXCEEDED
        ), "a halt is never taken back"


@pytest.mark.parametrize(("limit", "halted"), [(AN_HOUR + 90, True), (AN_HOUR + 91, False)])
def test_what_was_used_before_a_split_stays_used(limit: int, halted: bool) -> None:
    job = a_job(maxMachineSeconds=limit)
    failed = attempt(1, "Failed", failureClass="Transport", usage=usage(90, complete=True))
    whole = shard(job, 0, failed, supersededBy=["a-half", "b-half"])
    others = (shard(job, 1, attempt(1, "Assigned"), assignedAt=NOW), a_shard(job, Stage.PLAN, assignedAt=NOW, **LIVE))
    decision = plan_job(JobSnapshot(job, JobShards.of(job, (whole, *others)), None), LATER)
    assert ("Halted" in reasons(decision.status)) is halted


def test_a_job_that_was_done_when_its_time_was_up_is_complete() -> None:
    job = a_job(maxMachineSeconds=1)
    done = (
        committed(job, Stage.PROCESS, 0, succeeded=60),
        shard(
            job,
            1,
            attempt(1, "Succeeded", usage=usage(99, complete=True)),
            commit={"attempt": 1, "sha256": "a" * 64},
            clips={"succeeded": 40},
        ),
    )
    merging = plan_job(JobSnapshot(job, JobShards.of(job, done), None), LATER).status
    assert merging.finalize_time == LATER and "Halted" not in reasons(merging)


def test_the_time_that_an_attempt_was_assigned_counts_until_its_rows_are_here() -> None:
    live = shard(a_job(), 0, attempt(1, "Assigned"), assignedAt=NOW)
    ended = attempt_ended(live, AttemptOutcome.FAILED, "Transport", "why", None, LATER, retry_limit=7)
    record = current(ended)
    assert record is not None and record.held_seconds == AN_HOUR
    known = AudioShard.load({**live.dump(), "status": ended.dump()})
    complete = shard(a_job(), 0, attempt(1, "Failed", usage=usage(3, complete=True))).status.attempts[0].usage
    assert complete is not None
    settled = current(with_usages(known.status, [(1, complete)]))
    assert settled is not None and settled.held_seconds is None
    partial = complete.model_copy(update={"complete": False})
    waiting = current(with_usages(known.status, [(1, partial)]))
    assert waiting is not None and waiting.held_seconds == AN_HOUR


async def test_a_job_stops_at_its_machine_seconds_and_merges_what_was_done() -> None:
    world = await working(parallelism=2)
    used = sum(
        usage_bound([shard], world.clock.now(), {}).seconds
        for shard in world.shards()
        if shard.spec.stage is Stage.PROCESS
    )
    edit(world, maxMachineSeconds=int(used) + 100)
    took = await until(world, lambda: has_ended(world.job()), 10 * MINUTE, 2)
    assert took > 30, "two lanes have used a hundred seconds"
    assert_merged(world, Reason.MAX_MACHINE_SECONDS_EXCEEDED)
    await world.settle()
    assert_ended_well(world)


async def test_an_outage_is_no_machine_time() -> None:
    """The job is not halted for it, and the attempt that another one follows has had its lease, and no more."""
    world = await working(parallelism=1)
    edit(world, maxMachineSeconds=10 * int(MINUTE))
    [name] = [name for name, agent in world.agents.items() if processing(agent)]
    for mac in world.agents:
        lose(world, mac)
    back_at = world.clock.seconds + 30 * MINUTE
    await until(world, lambda: world.clock.seconds >= back_at, 40 * MINUTE, 5)
    world.fleet.reachable |= world.agents.keys() - {name}
    await until(world, lambda: has_ended(world.job()), 10 * MINUTE, 2)
    assert is_true(world.job().status.conditions, ConditionType.COMPLETE)
    [lost] = [item for shard in world.shards() for item in shard.status.attempts if item.outcome == AttemptOutcome.LOST]
    assert lost.held_seconds is not None and lost.held_seconds <= LEASE_SECONDS + MARGIN_SECONDS + MINUTE


def test_what_is_lost_for_good_has_had_its_lease_and_no_more() -> None:
    live = shard(a_job(), 0, attempt(1, "Assigned"), assignedAt=NOW)
    why = AttemptOutcome.LOST, "MachineLost", "why", None, LATER
    record = current(attempt_ended(live, *why, retry_limit=0, lost_for_seconds=AN_HOUR - 70))
    assert record is not None and record.held_seconds == 70


@settings(max_examples=8)
@given(
    seed=st.integers(0, 2**32 - 1),
    limit=st.integers(1, 60),
    lanes=st.integers(1, 2),
    parallelism=st.integers(1, 4),
    length=st.integers(1, 30),
    loses=st.booleans(),
)
async def test_no_more_is_used_than_the_limit_and_what_stopping_takes(
    seed: int, limit: int, lanes: int, parallelism: int, length: int, loses: bool
) -> None:
    """The overshoot is bounded by lanes x the time to stop; on a Mac that is silent, its lease is a part of it."""
    world = World(seed, macs=2, lanes=lanes)
    for agent in world.agents.values():
        agent.process_ticks, agent.bills_by_clock = length, True
    world.api.add(job_body(parallelism=parallelism, maxMachineSeconds=limit))
    if loses:
        b = world.agents["mac-b"]
        for _ in range(200):
            if processing(b) or has_ended(world.job()):
                break
            await world.settle(1)
        world.fleet.reachable.discard("mac-b")
        world.refresh("mac-b")
        for _ in range(200):
            await world.settle(1)
    calm(world)
    await world.settle()
    job = world.job()
    assert has_ended(job) and job.status.usage.settled
    used = seconds_milliseconds(job.status.usage.machine_seconds) / 1000
    stop_seconds = STOP_SECONDS + loses * (LEASE_SECONDS + MARGIN_SECONDS)
    assert used <= limit + min(parallelism, 2 * lanes) * stop_seconds
    if not is_true(job.status.conditions, ConditionType.COMPLETE):
        why = find(job.status.conditions, ConditionType.FAILED)
        assert why is not None and why.reason == Reason.MAX_MACHINE_SECONDS_EXCEEDED and job.status.results is not None


def test_a_bound_of_nothing_needs_no_clock() -> None:
    assert usage_bound([], datetime.fromisoformat(NOW) + timedelta(days=1), {}) == UsageBound(0, 0)
