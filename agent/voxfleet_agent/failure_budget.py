"""What one Mac may spend on a job's failures."""

from __future__ import annotations

from collections import deque

from voxfleet_agent.clock import Clock
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds import contract_limits
from voxfleet_api.protocol import AttemptSpec

_HOUR_MILLISECONDS = 3_600_000


class MacFailureBudget:
    """Implements stages.stage.FailureBudget for all attempts of one job on this Mac."""

    def __init__(self, limits: contract_limits.FailureBudget, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._retried_at_milliseconds: deque[int] = deque()
        self._quarantined_milliseconds = 0

    def spend_retry(self, failure_class: FailureClass) -> None:
        """Called of each retry. Raises VoxFleetError(FAILURE_BUDGET_EXHAUSTED) when the hour has no more of them.

        Throttled costs nothing: to wait as long as the other side asks is no failure.
        """
        most = self._limits.retries_per_hour
        if most is None or failure_class is FailureClass.THROTTLED:
            return
        now = self._now()
        while self._retried_at_milliseconds and self._retried_at_milliseconds[0] <= now - _HOUR_MILLISECONDS:
            self._retried_at_milliseconds.popleft()
        if len(self._retried_at_milliseconds) >= most:
            raise _exhausted(
                f"{most} retries within one hour, the last one for {failure_class.value}, are all that"
                " failureBudget.retriesPerHour allows on this Mac; mend what fails, or raise it"
            )
        self._retried_at_milliseconds.append(now)

    def spend_quarantined(self, audio_milliseconds: int) -> None:
        """Called after a clip was quarantined. Raises VoxFleetError(FAILURE_BUDGET_EXHAUSTED) past the limit."""
        most = self._limits.quarantined_minutes
        self._quarantined_milliseconds += audio_milliseconds
        if most is not None and self._quarantined_milliseconds > most * 60_000:
            raise _exhausted(
                f"{self._quarantined_milliseconds // 1000} seconds of audio were quarantined on this Mac and"
                f" failureBudget.quarantinedMinutes is {most}; errors.jsonl says why, mend the input or raise it"
            )

    def _now(self) -> int:
        return round(self._clock.lease_seconds() * 1000)


class MacFailureBudgets:
    """The budgets of all jobs that this agent has met. They live in memory: a restart begins new ones."""

    def __init__(self, clock: Clock, keep: int = 1000) -> None:
        """`keep`: how many jobs are remembered; the one not used for longest gives way."""
        self._clock = clock
        self._keep = keep
        self._jobs: dict[tuple[str, str], MacFailureBudget] = {}

    def open(self, spec: AttemptSpec) -> MacFailureBudget:
        key = (spec.job.uid, spec.contract_digest)
        budget = self._jobs.pop(key, None) or MacFailureBudget(spec.contract.failure_budget, self._clock)
        self._jobs[key] = budget
        while len(self._jobs) > self._keep:
            del self._jobs[next(iter(self._jobs))]
        return budget


def _exhausted(message: str) -> VoxFleetError:
    return VoxFleetError(FailureClass.FAILURE_BUDGET_EXHAUSTED, message)
