"""The metrics that parts of the operator count themselves, and the registry. Those that are read at a scrape are in
monitoring/.
"""

from __future__ import annotations

from functools import cache

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics

from voxfleet_api.conditions import Reason
from voxfleet_api.failures import FailureClass, Remedy, rule_of
from voxfleet_api.kinds.audio_shard import AttemptOutcome
from voxfleet_operator import metric_list
from voxfleet_operator.event_reasons import Announced, EventReason
from voxfleet_operator.turn_metrics import TurnMetrics

NONE = "none"
JOB_RESULTS: tuple[Announced, ...] = (
    Reason.FINISHED,
    Reason.ATTEMPTS_EXHAUSTED,
    Reason.CANCELLED,
    Reason.CLIPS_FAILED,
    Reason.DEADLINE_EXCEEDED,
    Reason.FINALIZE_DEADLINE_EXCEEDED,
    Reason.INVALID_SPEC,
    Reason.MAX_MACHINE_SECONDS_EXCEEDED,
    Reason.QUARANTINE_LIMIT_EXCEEDED,
    Reason.SOURCE_WITHOUT_RESULTS,
    EventReason.OTHER_FAILURE,
    *(item for item in FailureClass if rule_of(item).remedy is Remedy.NOTHING),
)
"""How jobs end. Series that alerts ask for growth are there from the start: of one that begins at 1, nobody sees the
first failure grow."""
REFUSED_VERBS = ("DELETE", "GET", "PATCH", "POST", "PUT")
RUN_STARTED, RUN_MISSED = "started", "missed"
PRODUCTIVE, RETRY, OVERHEAD = MACHINE_CLASSES = ("productive", "retry", "overhead")


class WorkMetrics:
    """What becomes of work, counted where it is written. Without a registry nobody scrapes it."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.attempts = metric_list.ATTEMPTS.counter(registry)
        self.retries = metric_list.RETRIES.counter(registry)
        self.exhausted = metric_list.SHARDS_EXHAUSTED.counter(registry)
        self.split = metric_list.SHARDS_SPLIT.counter(registry)
        self.clips = metric_list.CLIPS.counter(registry)
        self.machine_seconds = metric_list.MACHINE_SECONDS.counter(registry)
        self.audio_seconds = metric_list.AUDIO_SECONDS.counter(registry)
        self.job_seconds = metric_list.JOB_SECONDS.histogram(registry)
        self.placement_seconds = metric_list.PLACEMENT_SECONDS.histogram(registry)
        self.pending_shards = metric_list.PENDING_SHARDS.gauge(registry)
        self.waiting_jobs = metric_list.WAITING_JOBS.gauge(registry)
        self.runs = metric_list.SCHEDULE_RUNS.counter(registry)
        self.turns = TurnMetrics(registry)
        for result in JOB_RESULTS:
            self.job_seconds.labels(str(result))
        for run in (RUN_STARTED, RUN_MISSED):
            self.runs.labels(run)
        for machine_class in MACHINE_CLASSES:
            self.machine_seconds.labels(machine_class)

    def placed(self, seconds: float, pending_shards: int, waiting_jobs: int) -> None:
        self.placement_seconds.observe(seconds)
        self.pending_shards.set(pending_shards)
        self.waiting_jobs.set(waiting_jobs)


class ArchiveMetrics:
    """How the ledger archive answers."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._up = metric_list.ARCHIVE_UP.gauge(registry)
        self._seconds = metric_list.ARCHIVE_SECONDS.histogram(registry)
        self._failures = metric_list.ARCHIVE_FAILURES.counter(registry)

    def answered(self, seconds: float) -> None:
        self._up.set(1)
        self._seconds.observe(seconds)

    def failed(self) -> None:
        self._up.set(0)
        self._failures.inc()


class NightlyMetrics:
    """The CSVs of nights."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._overdue = metric_list.NIGHT_OVERDUE_SECONDS.gauge(registry)
        nights = metric_list.NIGHTS.counter(registry)
        self._written, self._failed = nights.labels("written"), nights.labels("failed")

    def overdue(self, seconds: float) -> None:
        self._overdue.set(seconds)

    def written(self) -> None:
        self._written.inc()

    def failed(self) -> None:
        self._failed.inc()


class OperatorMetrics:
    """The metrics of the operator, in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a series more for each, which says when it began
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.work = WorkMetrics(self.registry)
        self.archive = ArchiveMetrics(self.registry)
        self.nightly = NightlyMetrics(self.registry)
        self._queue_seconds = cache(metric_list.QUEUE_SECONDS.histogram(self.registry).labels)
        self._work_seconds = cache(metric_list.WORK_SECONDS.histogram(self.registry).labels)
        # Looking up a label takes longer than counting.
        self._reconciles = cache(metric_list.RECONCILES.counter(self.registry).labels)
        self._reconcile_seconds = cache(metric_list.RECONCILE_SECONDS.histogram(self.registry).labels)
        self._api_requests = cache(metric_list.API_REQUESTS.counter(self.registry).labels)
        self._api_request_seconds = cache(metric_list.API_REQUEST_SECONDS.histogram(self.registry).labels)
        for verb in REFUSED_VERBS:
            self._api_requests(verb, "403")

    def reconciled(self, kind: str, result: str, seconds: float) -> None:
        self._reconciles(kind, result).inc()
        self._reconcile_seconds(kind).observe(seconds)

    def api_requested(self, verb: str, code: int | None, seconds: float) -> None:
        """`code`: the status; None without an answer. May be called in any thread."""
        self._api_requests(verb, NONE if code is None else str(code)).inc()
        self._api_request_seconds(verb).observe(seconds)

    def key_taken(self, kind: str, waited_seconds: float) -> None:
        self._queue_seconds(kind).observe(waited_seconds)

    def key_done(self, kind: str, worked_seconds: float) -> None:
        self._work_seconds(kind).observe(worked_seconds)


def class_label(failure_class: str | None) -> str:
    """Of a closed list, whatever an agent says."""
    if failure_class is None:
        return NONE
    return str(failure_class) if failure_class in set(FailureClass) else str(EventReason.OTHER_FAILURE)


def outcome_label(outcome: str) -> str:
    return str(outcome) if outcome in set(AttemptOutcome) else str(EventReason.OTHER_FAILURE)
