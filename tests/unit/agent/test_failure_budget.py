"""A failure budget limits retries per hour and minutes of quarantined audio, per job and Mac."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.rig.attempt_spec import SPEECH, attempt_spec

from voxfleet_agent.failure_budget import MacFailureBudget, MacFailureBudgets
from voxfleet_api.attempt_spec import AttemptSpec
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.audio_shard import JobRef, Stage
from voxfleet_api.kinds.contract_limits import FailureBudget
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.results import SpentBudget


class ManualClock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def lease_seconds(self) -> float:
        return self.seconds

    def metered_milliseconds(self) -> int:
        raise AssertionError("the hour goes on while the Mac sleeps")

    def wall(self) -> datetime:
        return datetime(2026, 11, 20, tzinfo=UTC)


def spec(uid: str, limits: FailureBudget) -> AttemptSpec:
    contract = VoiceContractSpec(input=SPEECH, failure_budget=limits)
    return attempt_spec(Stage.PROCESS, "s", contract, job=JobRef(name="nightly", uid=uid))


def test_retries_are_counted_in_a_sliding_hour() -> None:
    clock = ManualClock()
    budget = MacFailureBudget(FailureBudget(retries_per_hour=2), clock)
    budget.spend_retry(FailureClass.TRANSPORT)
    clock.seconds += 1800
    budget.spend_retry(FailureClass.LANE_CRASHED)
    with pytest.raises(VoxFleetError, match=r"2 retries .*Transport.*retriesPerHour") as caught:
        budget.spend_retry(FailureClass.TRANSPORT)
    assert caught.value.failure_class is FailureClass.FAILURE_BUDGET_EXHAUSTED
    clock.seconds += 1800
    budget.spend_retry(FailureClass.TRANSPORT)
    with pytest.raises(VoxFleetError):
        budget.spend_retry(FailureClass.TRANSPORT)


def test_what_was_spent_is_the_worst_hour_and_all_quarantined_audio() -> None:
    clock = ManualClock()
    budget = MacFailureBudget(FailureBudget(retries_per_hour=9), clock)
    for seconds in (0, 600, 600, 3600, 600):  # three within an hour, then two
        clock.seconds += seconds
        budget.spend_retry(FailureClass.TRANSPORT)
        budget.spend_retry(FailureClass.THROTTLED)
    budget.spend_quarantined(1000)
    budget.spend_quarantined(500)
    assert budget.spent == SpentBudget(retries_in_an_hour=3, quarantined_audio_milliseconds=1500)


def test_waiting_as_asked_is_not_a_failure() -> None:
    budget = MacFailureBudget(FailureBudget(retries_per_hour=1), ManualClock())
    for _ in range(100):
        budget.spend_retry(FailureClass.THROTTLED)
    budget.spend_retry(FailureClass.TRANSPORT)
    budget.spend_retry(FailureClass.THROTTLED)
    with pytest.raises(VoxFleetError, match="1 retries"):
        budget.spend_retry(FailureClass.TRANSPORT)


@pytest.mark.parametrize(
    "failure_class",
    [
        FailureClass.TRANSPORT,
        FailureClass.TRUNCATED_OUTPUT,
        FailureClass.LANE_CRASHED,
        FailureClass.MEMORY_EXCEEDED,
        FailureClass.GPU_ABORT_TIMEOUT,
    ],
)
def test_a_failure_costs_a_retry(failure_class: FailureClass) -> None:
    budget = MacFailureBudget(FailureBudget(retries_per_hour=0), ManualClock())
    with pytest.raises(VoxFleetError, match=failure_class.value):
        budget.spend_retry(failure_class)


def test_zero_allows_no_retry_and_no_limit_allows_all() -> None:
    with pytest.raises(VoxFleetError, match="0 retries"):
        MacFailureBudget(FailureBudget(retries_per_hour=0), ManualClock()).spend_retry(FailureClass.TRANSPORT)
    unlimited = MacFailureBudget(FailureBudget(), ManualClock())
    for _ in range(1000):
        unlimited.spend_retry(FailureClass.TRANSPORT)
        unlimited.spend_quarantined(3_600_000)


def test_quarantined_audio_adds_up() -> None:
    budget = MacFailureBudget(FailureBudget(quarantined_minutes=2), ManualClock())
    budget.spend_quarantined(60_000)
    budget.spend_quarantined(60_000)
    with pytest.raises(VoxFleetError, match=r"120 seconds .*quarantinedMinutes is 2") as caught:
        budget.spend_quarantined(1)
    assert caught.value.failure_class is FailureClass.FAILURE_BUDGET_EXHAUSTED


def test_a_job_s_attempts_share_one_budget_and_jobs_do_not() -> None:
    budgets = MacFailureBudgets(ManualClock(), max_jobs=2)
    limits = FailureBudget(retries_per_hour=1)
    first = budgets.open(spec("job-1", limits))
    assert budgets.open(spec("job-1", limits)) is first
    assert budgets.open(spec("job-2", limits)) is not first
    assert budgets.open(spec("job-1", limits)) is first
    budgets.open(spec("job-3", limits))
    assert budgets.open(spec("job-1", limits)) is first, "the job that was met last is remembered"
