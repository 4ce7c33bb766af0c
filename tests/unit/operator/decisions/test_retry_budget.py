"""The attempt's number fences, and is no budget: only what failed, was refused for good or got lost costs a retry."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.job_objects import NOW, a_job, a_shard
from tests.unit.operator.decisions.test_every_job_ends import until
from tests.unit.operator.decisions.test_job_life_simulation import assert_ended_well
from tests.unit.operator.decisions.world import World

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import ConditionType, Reason, find, is_true
from voxfleet_api.failures import RULES, FailureClass, Remedy
from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import (
    MAX_ATTEMPTS,
    AttemptOutcome,
    AttemptRecord,
    AttemptUsage,
    AudioShardStatus,
    Stage,
)
from voxfleet_api.protocol import AttemptRequest, AttemptStatus, Problem
from voxfleet_operator.fleet.mac_view import AgentRefused
from voxfleet_operator.metering.usage import NO_ROWS, job_usage
from voxfleet_operator.reconcile.backoffs import MAC_ASKS_MAX_SECONDS, SHARD_MAX_SECONDS, Backoffs
from voxfleet_operator.reconcile.job_life import has_ended
from voxfleet_operator.reconcile.shard.status import (
    KEPT_ATTEMPTS,
    assigned,
    attempt_ended,
    failed_for_good,
    fold,
    is_failed,
    retries_used,
)

LIMIT = 7
FREE = (AttemptOutcome.ASSIGNED, AttemptOutcome.SUCCEEDED, AttemptOutcome.RETURNED)


@pytest.mark.parametrize("outcome", [*AttemptOutcome, "OfAnOperatorToCome"])
def test_what_costs_a_retry(outcome: str) -> None:
    assert AttemptRecord(attempt=1, mac="mac-a", outcome=outcome).costs_retry is (outcome not in FREE)


LOST, FAILED, REFUSED, RETURNED = (
    AttemptOutcome.LOST,
    AttemptOutcome.FAILED,
    AttemptOutcome.REFUSED,
    AttemptOutcome.RETURNED,
)
ARITHMETIC: dict[str, tuple[int, list[AttemptOutcome], int, bool]] = {
    "the limit counts retries and not attempts": (2, [FAILED, FAILED], 2, False),
    "one more is too many": (2, [FAILED, FAILED, FAILED], 3, True),
    "a lost Mac costs one": (2, [LOST, LOST, FAILED], 3, True),
    "a refusal for good costs one": (2, [REFUSED, REFUSED, REFUSED], 3, True),
    "what a Mac gives back costs none": (2, [RETURNED] * 12 + [FAILED, RETURNED, LOST, RETURNED], 2, False),
    "0 allows no retry": (0, [FAILED], 1, True),
    "0 allows a Mac to have no room": (0, [RETURNED, RETURNED], 0, False),
    "0 allows no lost Mac, either": (0, [LOST], 1, True),
}


@pytest.mark.parametrize("name", ARITHMETIC)
@pytest.mark.parametrize("stage", Stage)
def test_the_arithmetic_of_retries(name: str, stage: Stage) -> None:
    """Of each stage alike, and whatever is summed up meanwhile."""
    limit, outcomes, used, for_good = ARITHMETIC[name]
    shard = a_shard(a_job(), stage, 0 if stage is Stage.PROCESS else None)
    for number, outcome in enumerate(outcomes, start=1):
        assert not is_failed(shard)
        shard = _with(shard, assigned_on(shard, number))
        shard = _with(shard, attempt_ended(shard, outcome, None, "why", NO_ROWS, NOW, retry_limit=limit))
    assert (retries_used(shard.status), is_failed(shard)) == (used, for_good)
    if for_good:
        failed = find(shard.status.conditions, ConditionType.FAILED)
        assert failed is not None and failed.reason == Reason.ATTEMPTS_EXHAUSTED
        assert f"{used} attempts failed, and a shard is retried {limit} times" in failed.message


@pytest.mark.parametrize("failure", FailureClass)
@pytest.mark.parametrize("limit", [0, 7])
def test_what_no_other_mac_can_do_better_fails_at_once_and_the_rest_is_retried(
    failure: FailureClass, limit: int
) -> None:
    final = RULES[failure].remedy is Remedy.NOTHING
    assert (failed_for_good(failure, 1, limit) == failure) is final
    assert (failed_for_good(failure, 1, limit) is None) is (not final and limit > 0)


def refusing(world: World, mac: str, status: int, while_: Callable[[], bool]) -> None:
    real = world.agents[mac].put

    def put(key: AttemptKey, request: AttemptRequest) -> AttemptStatus:
        if while_():
            raise AgentRefused(status, Problem(message="not now"), retry_after_seconds=1)
        return real(key, request)

    world.agents[mac].put = put  # type: ignore[method-assign] # another control plane's work, say, takes its lanes


async def test_a_mac_without_room_costs_nothing_however_often_it_says_so() -> None:
    world = World(seed=1, macs=1)
    busy_until = world.clock.seconds + 3300
    refusing(world, "mac-a", 429, lambda: world.clock.seconds < busy_until)
    world.api.add(job_body())
    await until(world, lambda: has_ended(world.job()), 2 * 3600, 4)
    await world.settle()
    assert_ended_well(world)
    assert is_true(world.job().status.conditions, ConditionType.COMPLETE)
    (plan,) = [shard for shard in world.shards() if shard.spec.stage is Stage.PLAN]
    assert (plan.status.attempt or 0) > MAX_ATTEMPTS and retries_used(plan.status) == 0
    assert plan.status.folded is not None and len(plan.status.attempts) == KEPT_ATTEMPTS
    assert plan.status.folded.attempts + KEPT_ATTEMPTS == plan.status.attempt


async def test_a_mac_that_refuses_for_good_costs_a_retry_each_time() -> None:
    world = World(seed=1, macs=1)
    refusing(world, "mac-a", 422, lambda: True)
    world.api.add(job_body())
    await until(world, lambda: has_ended(world.job()), 3 * 3600, 4)
    failed = find(world.job().status.conditions, ConditionType.FAILED)
    assert failed is not None and failed.reason == Reason.ATTEMPTS_EXHAUSTED
    assert "8 attempts failed, and a shard is retried 7 times; the last: not now" in failed.message


@pytest.mark.parametrize("retry_limit", [0, 2])
async def test_the_limit_of_the_operator_counts_retries_and_0_allows_none(retry_limit: int) -> None:
    world = World(seed=7, macs=1)
    world.options = dataclasses.replace(world.options, retry_limit=retry_limit)
    world.start_operator()
    world.agents["mac-a"].failures, world.agents["mac-a"].failure_rate = (FailureClass.GPU_ABORT_TIMEOUT,), 1.0
    world.api.add(job_body())
    await until(world, lambda: has_ended(world.job()), 3 * 3600, 4)
    failed = find(world.job().status.conditions, ConditionType.FAILED)
    assert failed is not None and failed.reason == Reason.ATTEMPTS_EXHAUSTED
    (plan,) = world.shards()
    assert plan.status.attempt == retry_limit + 1


USAGES = st.one_of(
    st.none(),
    st.builds(
        AttemptUsage,
        chain_id=st.just("chain"),
        first_sequence=st.just(0),
        last_sequence=st.just(2),
        rows=st.integers(0, 9),
        setup_milliseconds=st.integers(0, 999),
        work_milliseconds=st.integers(0, 999),
        cleanup_milliseconds=st.integers(0, 999),
        audio_milliseconds=st.integers(0, 999),
        complete=st.booleans(),
    ),
)
ENDS = st.lists(st.tuples(st.sampled_from(["Failed", "Refused", "Returned", "Lost"]), USAGES), max_size=60)


@given(ends=ENDS, stage=st.sampled_from([Stage.PLAN, Stage.PROCESS]))
def test_folding_forgets_no_retry_and_no_second_and_bounds_the_list(
    ends: list[tuple[str, AttemptUsage | None]], stage: Stage
) -> None:
    job = a_job()
    shard = a_shard(job, stage, 0 if stage is Stage.PROCESS else None)
    for number, (outcome, usage) in enumerate(ends, start=1):
        shard = _with(shard, assigned_on(shard, number))
        ended = attempt_ended(shard, AttemptOutcome(outcome), None, "why", usage, NOW, retry_limit=LIMIT)
        shard = _with(shard, ended)
    status = shard.status
    assert len(status.attempts) <= MAX_ATTEMPTS + 1
    assert retries_used(status) == sum(outcome != "Returned" for outcome, _ in ends)
    folded = 0 if status.folded is None else status.folded.attempts
    assert folded + len(status.attempts) == len(ends)
    numbers = [record.attempt for record in status.attempts]
    assert numbers == sorted(numbers)
    if stage is Stage.PROCESS:
        sums = job_usage([shard], ended=True)
        milliseconds = sum(usage.machine_milliseconds for _, usage in ends if usage is not None)
        assert sums.machine_seconds == f"{milliseconds / 1000:.3f}"
        assert sums.rows == sum(usage.rows for _, usage in ends if usage is not None)


def test_attempts_whose_rows_are_expected_stay_listed_while_there_is_room() -> None:
    open_, done = AttemptOutcome.LOST, AttemptOutcome.FAILED
    records = [AttemptRecord(attempt=1, mac="mac-a", outcome=open_)]
    records += [AttemptRecord(attempt=n, mac="mac-b", outcome=done, usage=NO_ROWS) for n in range(2, KEPT_ATTEMPTS + 3)]
    listed, folded = fold(a_shard(a_job(), Stage.PROCESS), records)
    assert [record.attempt for record in listed] == [1, *range(4, KEPT_ATTEMPTS + 3)]
    assert folded is not None and (folded.attempts, folded.retries, folded.unsettled) == (2, 2, 0)
    lost = [AttemptRecord(attempt=n, mac="mac-a", outcome=open_) for n in range(1, MAX_ATTEMPTS + 2)]
    listed, folded = fold(a_shard(a_job(), Stage.PROCESS), lost)
    assert len(listed) == MAX_ATTEMPTS and folded is not None and folded.unsettled == 1


def test_pauses_have_an_end_and_are_forgotten() -> None:
    backoffs = Backoffs()
    for failures in range(1, 30):
        backoffs.shard_failed("shard", failures, 0.0)
        backoffs.mac_failed("mac-a", 0.0, at_least_seconds=2147483646.0)
    assert backoffs.shard_pauses()["shard"] == SHARD_MAX_SECONDS and backoffs.mac_until("mac-a") == MAC_ASKS_MAX_SECONDS
    backoffs.shard_failed("other", 1, SHARD_MAX_SECONDS)
    assert "shard" not in backoffs.shard_pauses(), "nothing is remembered of a pause that is over"


def assigned_on(shard: AudioShard, attempt: int) -> AudioShardStatus:
    digest = f"sha256:{'0' * 64}"
    return assigned(
        shard,
        attempt=attempt,
        mac="mac-a",
        machine=None,
        spec_digest=digest,
        lease_seconds=30,
        usage_of_lost=None,
        now=NOW,
    )


def _with(shard: AudioShard, status: AudioShardStatus) -> AudioShard:
    return shard.model_copy(update={"status": status})
