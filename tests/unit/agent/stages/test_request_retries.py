"""Which failures are retried, after which delay, and how retries are counted."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.stages.request_retries import RETRY_AFTER_CAP_SECONDS, Retrier, delay_seconds
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_limits import Backoff, Retries, RetryClass

TRANSPORT = VoxFleetError(FailureClass.TRANSPORT, "gone")
THROTTLED = VoxFleetError(FailureClass.THROTTLED, "busy")


def throttled_for(seconds: float) -> VoxFleetError:
    return VoxFleetError(FailureClass.THROTTLED, "busy", retry_after_seconds=seconds)


class Flaky:
    """Fails with each of the errors in turn, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


class RecordedSleep:
    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.mark.parametrize(
    ("backoff", "retry", "fraction", "retry_after", "expected"),
    [
        (Backoff(), 0, 0.5, None, 0.5),
        (Backoff(), 3, 0.5, None, 4.0),
        (Backoff(), 9, 0.5, None, 30.0),
        (Backoff(initial="200ms", factor_percent=150, cap="10s"), 2, 1.0, None, 0.45),
        (Backoff(initial="5m", cap="1m"), 0, 1.0, None, 60.0),
        (Backoff(factor_percent=100), 10, 1.0, None, 1.0),
        (Backoff(), 0, 0.0, None, 0.0),
        (Backoff(), 0, 0.5, 7.0, 7.0),
        (Backoff(), 9, 1.0, 7.0, 60.0),
        (Backoff(), 0, 0.0, 0.0, 0.0),
        (Backoff(), 0, 0.5, 86_400.0, RETRY_AFTER_CAP_SECONDS),
        (Backoff(cap="1h", initial="1h"), 0, 1.0, 86_400.0, 3600.0),
    ],
)
def test_delays(backoff: Backoff, retry: int, fraction: float, retry_after: float | None, expected: float) -> None:
    assert delay_seconds(backoff, retry, fraction, retry_after) == pytest.approx(expected)


@given(
    initial=st.integers(1, 600),
    factor_percent=st.integers(100, 1000),
    cap=st.integers(1, 3600),
    retry=st.integers(0, 9),
    fraction=st.floats(0, 1, exclude_max=True),
    retry_after=st.none() | st.floats(0, 1e9),
)
def test_every_delay_keeps_its_bounds(
    initial: int, factor_percent: int, cap: int, retry: int, fraction: float, retry_after: float | None
) -> None:
    backoff = Backoff(initial=f"{initial}s", factor_percent=factor_percent, cap=f"{cap}s")
    required = min(retry_after or 0.0, RETRY_AFTER_CAP_SECONDS)
    delay = delay_seconds(backoff, retry, fraction, retry_after)
    assert required <= delay <= max(required, cap)
    assert delay <= delay_seconds(backoff, retry + 1, fraction, retry_after), "a later retry never waits less"


@given(
    max_retries=st.integers(0, 10),
    listed=st.sets(st.sampled_from(RetryClass)),
    failures=st.lists(st.sampled_from([*RetryClass, FailureClass.INPUT_NOT_FOUND]), max_size=12),
)
async def test_only_what_the_contract_lists_is_retried(
    max_retries: int, listed: set[RetryClass], failures: list[RetryClass | FailureClass]
) -> None:
    errors = [VoxFleetError(FailureClass(failure.value), "") for failure in failures]
    flaky, slept = Flaky(*errors), RecordedSleep()
    spent: list[FailureClass] = []
    retries = Retries(max_retries=max_retries, classes=tuple(sorted(listed)))
    retrier = Retrier(retries, spent.append, sleep=slept, fraction=lambda: 0.5)

    retried = 0  # failures that are followed by another call
    while retried < len(failures) and retried < max_retries and failures[retried].value in listed:
        retried += 1
    if retried == len(failures):
        assert await retrier(flaky) == "done"
    else:
        with pytest.raises(VoxFleetError) as caught:
            await retrier(flaky)
        assert caught.value is errors[retried]
    assert flaky.calls == retried + 1
    assert spent == [FailureClass(failure.value) for failure in failures[:retried]]
    assert retrier.counts == Counter(spent)
    assert len(slept.seconds) == retried


async def test_delays_grow_and_honour_retry_after() -> None:
    slept = RecordedSleep()
    retrier = Retrier(Retries(), sleep=slept, fraction=lambda: 0.5)
    assert await retrier(Flaky(TRANSPORT, throttled_for(90.0), THROTTLED)) == "done"
    assert slept.seconds == [0.5, 90.0, 2.0]


async def test_counts_add_up_over_calls() -> None:
    retrier = Retrier(Retries(), sleep=RecordedSleep())
    await retrier(Flaky(TRANSPORT))
    await retrier(Flaky(THROTTLED, TRANSPORT))
    assert retrier.counts == {FailureClass.TRANSPORT: 2, FailureClass.THROTTLED: 1}


async def test_a_spent_budget_ends_the_retries() -> None:
    exhausted = VoxFleetError(FailureClass.FAILURE_BUDGET_EXHAUSTED, "no more")

    def spend(_: FailureClass) -> None:
        raise exhausted

    flaky, slept = Flaky(TRANSPORT), RecordedSleep()
    retrier = Retrier(Retries(), spend, sleep=slept)
    with pytest.raises(VoxFleetError) as caught:
        await retrier(flaky)
    assert caught.value is exhausted
    assert (flaky.calls, slept.seconds, retrier.counts) == (1, [], Counter())


async def test_other_errors_pass_through() -> None:
    flaky = Flaky(ValueError("a mistake of ours"))
    with pytest.raises(ValueError, match="mistake"):
        await Retrier(Retries(), sleep=RecordedSleep())(flaky)
    assert flaky.calls == 1


async def test_it_really_waits() -> None:
    retrier = Retrier(Retries(backoff=Backoff(initial="1ms", cap="1ms")))
    assert await retrier(Flaky(TRANSPORT, TRANSPORT)) == "done"
