"""Limits a job's retries and quarantined audio on one Mac."""

from __future__ import annotations

from collections import deque

from voxfleet_agent.clock import Clock
from voxfleet_api.attempt_spec import AttemptSpec
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds import contract_limits
from voxfleet_api.results import SpentBudget

_HOUR_MILLISECONDS = 3_600_000


class MacFailureBudget:
    """Implements stages.stage_context.JobFailureBudget for all attempts of one job on this Mac."""

    def __init__(self, limits: contract_limits.FailureBudget, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._retry_times_milliseconds: deque[int] = deque()
        self._quarantined_milliseconds = 0
        self._most_retries = 0

    @property
    def spent(self) -> SpentBudget:
        """Retries are counted where the contract limits them."""
        return SpentBudget(
            retries_in_an_hour=self._most_retries, quarantined_audio_milliseconds=self._quarantined_milliseconds
        )

    def spend_retry(self, failure_class: FailureClass) -> None:
        """Called for each retry. Raises VoxFleetError(FAILURE_BUDGET_EXHAUSTED) when an hour's retries are used up.

        Throttled costs nothing, because waiting as long as a server asks is not a failure.
        """
        limit = self._limits.retries_per_hour
        if limit is None or failure_class is FailureClass.THROTTLED:
            return
        now = self._now()
        while self._retry_times_milliseconds and self._retry_times_milliseconds[0] <= now - _HOUR_MILLISECONDS:
            self._retry_times_milliseconds.popleft()
        if len(self._retry_times_milliseconds) >= limit:
            raise _budget_exhausted(
                f"{limit} retries within one hour, the last one for {failure_class.value}, are all that"
                " failureBudget.retriesPerHour allows on this Mac; mend what fails, or raise it"
            )
        self._retry_times_milliseconds.append(now)
        self._most_retries = max(self._most_retries, len(self._retry_times_milliseconds))

    def spend_quarantined(self, audio_milliseconds: int) -> None:
        """Called after each quarantined clip. Raises VoxFleetError(FAILURE_BUDGET_EXHAUSTED) beyond the limit."""
        limit = self._limits.quarantined_minutes
        self._quarantined_milliseconds += audio_milliseconds
        if limit is not None and self._quarantined_milliseconds > limit * 60_000:
            raise _budget_exhausted(
                f"{self._quarantined_milliseconds // 1000} seconds of audio were quarantined on this Mac and"
                f" failureBudget.quarantinedMinutes is {limit}; errors.jsonl says why, mend the input or raise it"
            )

    def _now(self) -> int:
        return round(self._clock.lease_seconds() * 1000)


class MacFailureBudgets:
    """The failure budgets of this agent's jobs. They are kept in memory, so a restart begins new ones."""

    def __init__(self, clock: Clock, max_jobs: int = 1000) -> None:
        """`max_jobs`: how many budgets are kept; the least recently used one is dropped first."""
        self._clock = clock
        self._max_jobs = max_jobs
        self._jobs: dict[tuple[str, str], MacFailureBudget] = {}

    def open(self, spec: AttemptSpec) -> MacFailureBudget:
        key = (spec.job.uid, spec.contract_digest)
        budget = self._jobs.pop(key, None) or MacFailureBudget(spec.contract.failure_budget, self._clock)
        self._jobs[key] = budget
        while len(self._jobs) > self._max_jobs:
            del self._jobs[next(iter(self._jobs))]
        return budget


def _budget_exhausted(message: str) -> VoxFleetError:
    return VoxFleetError(FailureClass.FAILURE_BUDGET_EXHAUSTED, message)
