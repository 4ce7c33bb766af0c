"""Whether a job keeps to its contract's limits, as its conditions say it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from voxfleet_api.conditions import ConditionType, Reason
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.job_status import AudioBatchJobStatus
from voxfleet_api.limit_checks import (
    FAILURE_BUDGET,
    ContractLimits,
    LimitCheck,
    LimitName,
    limit_checks,
)
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.shard.status import failed_condition


@dataclass(frozen=True, slots=True)
class LimitCondition:
    type: ConditionType
    status: bool | None
    reason: str
    message: str


def job_limit_checks(status: AudioBatchJobStatus) -> tuple[LimitCheck, ...]:
    """Empty until the job is accepted."""
    if status.contract is None:
        return ()
    return limit_checks(status.clips, status.measured, ContractLimits.of(status.contract.spec))


def limit_conditions(status: AudioBatchJobStatus, shards: JobShards) -> Iterator[LimitCondition]:
    """Those that can be told. Quarantined clips have a condition of their own."""
    checks = job_limit_checks(status)
    for check in checks:
        if check.name is LimitName.OFFLINE_TAIL_P95:
            reason = Reason.TAIL_WITHIN_SLO if check.kept else Reason.TAIL_BEYOND_SLO
            yield LimitCondition(ConditionType.OFFLINE_SLO_MET, check.kept, reason, check.text)
    exhausted = _exhausted(shards)
    budget = [check for check in checks if check.name in FAILURE_BUDGET]
    if exhausted is not None:
        yield LimitCondition(
            ConditionType.WITHIN_FAILURE_BUDGET, False, FailureClass.FAILURE_BUDGET_EXHAUSTED, exhausted
        )
    elif budget:
        kept, text = all(check.kept for check in budget), "; ".join(check.text for check in budget)
        reason = Reason.WITHIN_BUDGET if kept else Reason.NOT_TOLD_BY_ROWS
        yield LimitCondition(ConditionType.WITHIN_FAILURE_BUDGET, kept or None, reason, text)


def _exhausted(shards: JobShards) -> str | None:
    """What the Mac said whose budget was used up: its agent stops there, and the job fails."""
    for shard in shards.all:
        failed = failed_condition(shard)
        if failed is not None and failed.reason == FailureClass.FAILURE_BUDGET_EXHAUSTED:
            return failed.message
    return None
