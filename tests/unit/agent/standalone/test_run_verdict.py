"""When a run stops starting shards, when a shard is retried, and how a run ends."""

from __future__ import annotations

import pytest

from voxfleet_agent.standalone.attempt_specs import Committed
from voxfleet_agent.standalone.run_verdict import (
    ATTEMPTS_A_RUN,
    RunEnding,
    committed_beyond_halt,
    concerns_job,
    judge,
    may_try_again,
)
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.contract_limits import Quarantine
from voxfleet_api.protocol import AttemptFailure, ShardResult
from voxfleet_api.results import Counts

LIMITS = Quarantine(max_clips=2, max_percent=10)


def shard(ordinal: int, **counts: int) -> Committed:
    return Committed(ordinal, 1, ShardResult(commit_sha256="a" * 64, counts=Counts(**counts)))


def failure(failure_class: FailureClass) -> AttemptFailure:
    return AttemptFailure(failure_class=failure_class, message="why")


@pytest.mark.parametrize(
    ("counts", "ending"),
    [
        (Counts(succeeded=20), RunEnding.COMPLETE),
        (Counts(succeeded=18, quarantined=2), RunEnding.COMPLETE),
        (Counts(succeeded=97, quarantined=3), RunEnding.FAILED),  # more than max_clips
        (Counts(succeeded=9, quarantined=2), RunEnding.FAILED),  # more than max_percent
        (Counts(succeeded=19, failed=1), RunEnding.FAILED),
        (Counts(succeeded=19, not_run=1), RunEnding.FAILED),
    ],
)
def test_a_run_ends_by_its_counts(counts: Counts, ending: RunEnding) -> None:
    verdict = judge(counts, [], [], LIMITS)
    assert verdict.ending is ending and bool(verdict.reason) == (ending is RunEnding.FAILED)


def test_a_run_that_its_own_limit_stopped_says_so_unless_all_was_done() -> None:
    assert judge(Counts(succeeded=19, not_run=1), [], [], LIMITS, "too late").reason == "1 clip did not run: too late"
    assert judge(Counts(succeeded=20), [], [], LIMITS, "too late").ending is RunEnding.COMPLETE
    found = judge(Counts(succeeded=19, not_run=1), [], [failure(FailureClass.TRANSPORT)], LIMITS, "too late")
    assert found.reason == "Transport: why", "what failed first counts"


def test_a_shard_without_result_fails_the_run() -> None:
    verdict = judge(Counts(succeeded=20), [], [failure(FailureClass.TRANSPORT)], LIMITS)
    assert verdict.ending is RunEnding.FAILED and verdict.reason == "Transport: why"


def test_a_run_whose_model_no_lane_can_load_is_unusable_if_no_clip_was_worked_on() -> None:
    unloadable, transport = failure(FailureClass.MODEL_UNAVAILABLE), failure(FailureClass.TRANSPORT)
    assert judge(Counts(not_run=5), [], [unloadable], LIMITS).unusable
    assert not judge(Counts(not_run=4, succeeded=1), [], [unloadable], LIMITS).unusable
    assert not judge(Counts(not_run=4, quarantined=1), [], [unloadable], LIMITS).unusable
    assert not judge(Counts(not_run=5), [], [transport], LIMITS).unusable


def test_fan_out_halts_beyond_the_contract_s_percent_and_not_at_it() -> None:
    at, beyond = shard(0, succeeded=9, quarantined=1), shard(1, succeeded=9, quarantined=2)
    assert committed_beyond_halt([at], 10) is None
    assert committed_beyond_halt([at, beyond], 10) == (3, 21)
    assert committed_beyond_halt([beyond], None) is None
    assert committed_beyond_halt([], 1) is None
    limits = LIMITS.model_copy(update={"halt_fan_out_percent": 10})
    counts = Counts(quarantined=3, succeeded=18, not_run=4)
    for stopped in (None, "the run took too long; raise it"):
        reason = judge(counts, [at, beyond], [], limits, stopped).reason
        assert "haltFanOutPercent" in reason and "raise it" not in reason, "more time would not help"


def test_only_failures_of_this_machine_are_retried_and_not_for_ever() -> None:
    assert may_try_again(failure(FailureClass.TRANSPORT), 1)
    assert may_try_again(failure(FailureClass.GPU_ABORT_TIMEOUT), ATTEMPTS_A_RUN - 1)
    assert not may_try_again(failure(FailureClass.GPU_ABORT_TIMEOUT), ATTEMPTS_A_RUN)
    assert not may_try_again(failure(FailureClass.MODEL_MISMATCH), 1)
    assert concerns_job(failure(FailureClass.MODEL_MISMATCH)) and not concerns_job(failure(FailureClass.TRANSPORT))


@pytest.mark.parametrize(
    ("succeeded", "quarantined", "expected"),
    [
        (9, 2, "2 of 11 clips are quarantined; the contract allows 10 % (quarantine.maxPercent); "),
        (97, 3, "3 of 100 clips are quarantined; the contract allows 2 (quarantine.maxClips); "),
        (2, 1, "1 of 3 clips is quarantined; the contract allows 10 % (quarantine.maxPercent); "),
    ],
)
def test_only_the_exceeded_limit_is_named(succeeded: int, quarantined: int, expected: str) -> None:
    reason = judge(Counts(succeeded=succeeded, quarantined=quarantined), [], [], LIMITS).reason
    assert reason == f"{expected}errors.jsonl says why"
