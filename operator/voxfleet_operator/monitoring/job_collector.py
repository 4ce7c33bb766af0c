"""Jobs in sums: none of them has a series of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from voxfleet_api.conditions import ConditionType, Reason, find, is_false, is_true
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.limit_checks import LimitName
from voxfleet_operator import metric_list
from voxfleet_operator.cache import Cache
from voxfleet_operator.reconcile.job.contract_limits import job_limit_checks
from voxfleet_operator.reconcile.job_life import has_ended

STATES = (
    Reason.PENDING,
    Reason.PLANNING,
    Reason.WAITING_FOR_MAC,
    Reason.RUNNING,
    Reason.SUSPENDED,
    Reason.FINALIZING,
    Reason.FINISHED,
    Reason.FAILED,
)

LIMIT_CONDITIONS = (ConditionType.OFFLINE_SLO_MET, ConditionType.WITHIN_FAILURE_BUDGET)


class JobCollector(Collector):
    def __init__(self, cache: Cache, retry_limit: int) -> None:
        self._cache = cache
        self._retry_limit = retry_limit

    def collect(self) -> Iterator[Metric]:
        states: Counter[str] = Counter()
        stalled, budget_used = 0, 0.0
        used: dict[LimitName, float] = {}
        beyond: Counter[ConditionType] = Counter()
        for job in self._cache.all(AudioBatchJob):
            for check in job_limit_checks(job.status):
                used[check.name] = max(used.get(check.name, 0.0), check.used_ratio)
            beyond.update(type_ for type_ in LIMIT_CONDITIONS if is_false(job.status.conditions, type_))
            complete = find(job.status.conditions, ConditionType.COMPLETE)
            states[Reason.PENDING if complete is None else complete.reason] += 1
            if not has_ended(job):
                stalled += is_true(job.status.conditions, ConditionType.STALLED)
                budget_used = max(budget_used, quarantine_budget_used(job))
        jobs = metric_list.JOBS.gauge_family()
        for state in STATES:
            jobs.add_metric([state], states[state])
        yield jobs
        ratios, broken = metric_list.LIMIT_USED.gauge_family(), metric_list.JOBS_BEYOND_LIMITS.gauge_family()
        for name, ratio in used.items():
            ratios.add_metric([name], ratio)
        for type_ in LIMIT_CONDITIONS:
            broken.add_metric([type_], beyond[type_])
        yield from (ratios, broken)
        for spec, value in (
            (metric_list.JOBS_STALLED, stalled),
            (metric_list.QUARANTINE_BUDGET, budget_used),
            (metric_list.RETRY_LIMIT, self._retry_limit),
        ):
            gauge = spec.gauge_family()
            gauge.add_metric([], float(value))
            yield gauge


def quarantine_budget_used(job: AudioBatchJob) -> float:
    """Quarantined clips, divided by what the contract allows; over 1 the job will fail. Where nothing is allowed, one
    clip counts as 2.
    """
    accepted, clips = job.status.contract, job.status.clips
    if accepted is None:
        return 0.0
    limits = accepted.spec.quarantine
    allowed = min(limits.max_clips, limits.max_percent * clips.total // 100)
    return clips.quarantined / max(allowed, 0.5)
