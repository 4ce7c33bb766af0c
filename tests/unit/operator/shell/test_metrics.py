"""What /metrics shows: all that the list declares and nothing else, and nothing that grows with what users make."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from tests.unit.operator.decisions.attempt_objects import UID, record, report, shard_with
from tests.unit.operator.decisions.bodies import mac_agent
from tests.unit.operator.decisions.job_objects import LATER
from tests.unit.operator.decisions.job_states import job_states
from tests.unit.operator.golden.mac_states import CONNECTED
from tests.unit.operator.golden.schedule_states import schedule_states
from tests.unit.operator.golden.shard_states import shard_states

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import ConditionType, Reason, find
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds import KINDS, AudioShard, MacAgent, MachineHourStatement
from voxfleet_api.kinds.audio_shard import (
    AttemptOutcome,
    AttemptUsage,
    FoldedAttempts,
    ShardClipCounts,
    ShardCommit,
    Stage,
)
from voxfleet_api.ledger import Activity
from voxfleet_api.machine_messages import PoolFacts
from voxfleet_api.pools import PoolKind
from voxfleet_api.protocol import AttemptState
from voxfleet_operator.cache import Cache
from voxfleet_operator.event_reasons import EventReason, announced
from voxfleet_operator.events import EventRecorder
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.fleet.verified_row import VerifiedRow
from voxfleet_operator.health import render
from voxfleet_operator.heartbeat import STALL_SECONDS, Heartbeat
from voxfleet_operator.kube import Kube
from voxfleet_operator.metering.budget_accounts import BudgetAccounts
from voxfleet_operator.metering.usage import job_usage
from voxfleet_operator.metric_list import METRICS
from voxfleet_operator.metrics import OperatorMetrics, WorkMetrics, class_label
from voxfleet_operator.monitoring.budget_collector import BudgetCollector
from voxfleet_operator.monitoring.endpoint_collector import EndpointCollector
from voxfleet_operator.monitoring.job_collector import JobCollector, quarantine_budget_used
from voxfleet_operator.monitoring.mac_collector import MacCollector
from voxfleet_operator.monitoring.process_collector import EventCollector, ProcessCollector
from voxfleet_operator.monitoring.queue_collector import QueueCollector
from voxfleet_operator.monitoring.schedule_collector import ScheduleCollector
from voxfleet_operator.price_book_file import PriceBookFile
from voxfleet_operator.queue import Key, WorkQueue
from voxfleet_operator.reconcile.counted_writes import count_write
from voxfleet_operator.watch_health import LATE_SECONDS, RELIST_SECONDS, WATCH_SECONDS, WatchHealth
from voxfleet_shared.metric_specs import MetricType

NOW = datetime(2026, 11, 20, 19, 0, tzinfo=UTC)
LABELS = {"class", "code", "condition", "kind", "limit", "mac", "outcome", "part", "resource", "result", "state"} | {
    "billing_key",
    "endpoint",
    "namespace",
    "verb",
}
"""Closed lists, what the API server has, Macs, endpoints with a lane, and whose budgets the price book has."""


@dataclass
class Contacts:
    views: dict[str, MacView] = field(default_factory=dict)

    def view(self, mac: str) -> MacView:
        return self.views.get(mac, MacView(mac, connected=False, reason=Reason.UNKNOWN, message=""))

    def last_answer_seconds(self, mac: str) -> float | None:
        return 100.0 if mac in self.views else None


class Leading:
    epoch = 7

    def holds(self) -> bool:
        return True


@dataclass
class Clock:
    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Operator:
    """The parts that are scraped."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.cache, self.contacts = Cache(), Contacts()
        self.metrics = OperatorMetrics()
        self.queue = WorkQueue(self.clock, observer=self.metrics)
        self.watches = WatchHealth([kind.crd.plural for kind in KINDS], self.clock)
        registry = self.metrics.registry
        self.heartbeat = Heartbeat(self.clock)
        registry.register(ProcessCollector(Leading(), self.heartbeat, self.watches))
        registry.register(QueueCollector(self.queue))
        registry.register(EventCollector(EventRecorder(partial(Kube.connect), "operator-1", self.clock)))  # type: ignore[arg-type] # writes nothing
        registry.register(JobCollector(self.cache, retry_limit=7))
        registry.register(ScheduleCollector(self.cache))
        registry.register(EndpointCollector(self.cache))
        registry.register(BudgetCollector(PriceBookFile(Path("price-book.yaml")), BudgetAccounts()))
        registry.register(MacCollector(self.cache, self.contacts, self.clock, lambda: NOW))

    def add_mac(self, name: str, view: MacView = CONNECTED) -> None:
        body = mac_agent(name)
        metadata = {"uid": name, "resourceVersion": "1", "creationTimestamp": "2026-11-20T11:00:00Z"}
        self.cache.put(MacAgent.load({**body, "metadata": {**body["metadata"], **metadata}}))
        self.contacts.views[name] = replace(view, name=name)

    def value(self, series: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(series, labels)


@pytest.fixture
def operator() -> Operator:
    return Operator()


def families(registry: CollectorRegistry) -> set[str]:
    return {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in registry.collect()
        if not family.name.startswith("process_")
    }


def test_a_scrape_has_the_metrics_of_the_list_and_no_others(operator: Operator) -> None:
    assert families(operator.metrics.registry) == {spec.name for spec in METRICS}


@pytest.mark.parametrize("spec", METRICS, ids=lambda spec: spec.name)
def test_a_metric_is_named_by_its_unit_and_has_no_label_that_users_make_longer(spec: object) -> None:
    assert spec in METRICS
    [found] = [item for item in METRICS if item is spec]
    assert re.fullmatch(r"voxfleet_[a-z]+(_[a-z]+)*", found.name)
    assert (found.type is MetricType.COUNTER) == found.name.endswith("_total")
    assert found.type is not MetricType.HISTOGRAM or found.name.endswith("_seconds")
    assert set(found.labels) <= LABELS
    assert found.help.endswith(".")


def test_a_stall_of_the_loop_is_told_by_the_next_scrape(operator: Operator) -> None:
    """While it lasts nothing is scraped, and the loop beats before it answers: how long ago that was says nothing."""
    operator.clock.seconds += STALL_SECONDS
    operator.heartbeat.beat()
    assert operator.value("voxfleet_event_loop_stalls_total") == 0
    operator.clock.seconds += STALL_SECONDS + 0.1
    operator.heartbeat.beat()
    assert operator.value("voxfleet_event_loop_stalls_total") == 1


def test_each_mac_has_its_gauges_until_it_is_deleted(operator: Operator) -> None:
    for name in ("mac-a", "mac-b"):
        operator.add_mac(name)
    operator.contacts.views["mac-b"] = replace(operator.contacts.views["mac-b"], connected=False)
    assert operator.value("voxfleet_mac_reachable", mac="mac-a") == 1
    assert operator.value("voxfleet_mac_reachable", mac="mac-b") == 0
    assert operator.value("voxfleet_mac_lanes", mac="mac-a", kind="Offline") == 1
    assert operator.value("voxfleet_mac_lanes", mac="mac-a", kind="Interactive") is None, "it has no such pool"
    assert operator.value("voxfleet_mac_lanes_busy", mac="mac-b", kind="Offline") is None, "nobody knows"
    assert operator.value("voxfleet_mac_last_contact_age_seconds", mac="mac-a") == 900
    operator.cache.remove_uid("mac-b")
    told = {
        sample.labels["mac"]
        for family in operator.metrics.registry.collect()
        for sample in family.samples
        if "mac" in sample.labels
    }
    assert told == {"mac-a"}


def test_lanes_of_both_kinds_are_never_added_up(operator: Operator) -> None:
    assert CONNECTED.machine is not None
    pools = (
        PoolFacts(name="night", kind="Offline", lanes=2, free_lanes=1),
        PoolFacts(name="day", kind="Offline", lanes=1, free_lanes=1),
        PoolFacts(name="live", kind="Interactive", lanes=3, free_lanes=1),
    )
    operator.add_mac("mac-a", replace(CONNECTED, machine=CONNECTED.machine.model_copy(update={"pools": pools})))
    told = {
        (series, kind): operator.value(series, mac="mac-a", kind=kind)
        for series in ("voxfleet_mac_lanes", "voxfleet_mac_lanes_busy")
        for kind in PoolKind
    }
    assert list(told.values()) == [3, 3, 1, 2]


def test_a_ledger_that_does_not_verify_is_a_zero(operator: Operator) -> None:
    operator.add_mac("mac-a", replace(CONNECTED, ledger_error="ledger row c#0: was changed"))
    assert operator.value("voxfleet_mac_ledger_verified", mac="mac-a") == 0


async def test_keys_are_counted_and_timed_by_kind(operator: Operator) -> None:
    key = Key("AudioShard", "team", "shard")
    operator.queue.start([key])
    assert operator.value("voxfleet_workqueue_depth", kind="AudioShard") == 1
    operator.clock.seconds += 3
    assert await operator.queue.get() == key
    operator.clock.seconds += 4
    assert operator.value("voxfleet_workqueue_longest_running_processor_seconds") == 4
    assert operator.value("voxfleet_workqueue_unfinished_work_seconds") == 4
    operator.queue.add_rate_limited(key)
    operator.queue.done(key)
    assert operator.value("voxfleet_workqueue_queue_duration_seconds_sum", kind="AudioShard") == 3
    assert operator.value("voxfleet_workqueue_work_duration_seconds_sum", kind="AudioShard") == 4
    assert operator.value("voxfleet_workqueue_retries_total", kind="AudioShard") == 1
    assert operator.value("voxfleet_workqueue_unfinished_work_seconds") == 0


def test_jobs_are_counted_by_state_and_have_no_series_of_their_own(operator: Operator) -> None:
    states = ("running", "complete", "running with a Secret that went away")
    for number, state in enumerate(states):
        job = job_states()[state]
        metadata = job.metadata.model_copy(
            update={"name": f"job-{number}", "uid": f"u{number}", "resource_version": "1"}
        )
        operator.cache.put(job.model_copy(update={"metadata": metadata}))
    assert operator.value("voxfleet_jobs", state="Running") == 2
    assert operator.value("voxfleet_jobs", state="Finished") == 1
    assert operator.value("voxfleet_jobs_stalled") == 1
    assert b"job-0" not in b"".join(str(family).encode() for family in operator.metrics.registry.collect())


def test_however_a_job_fails_its_series_was_there_before() -> None:
    """Otherwise the first failure of its kind is no growth, and no alert sees it."""
    registry = OperatorMetrics().registry
    found = [find(job.status.conditions, ConditionType.FAILED) for job in job_states().values()]
    results = {str(announced(failed.reason)) for failed in found if failed is not None}
    assert len(results) > 5
    for result in results:
        assert registry.get_sample_value("voxfleet_job_duration_seconds_count", {"result": result}) == 0, result


def test_schedules_are_counted_where_they_stand(operator: Operator) -> None:
    for number, (state, schedule) in enumerate(schedule_states().items()):
        update = {"name": f"abs-{number}", "uid": state, "resource_version": "1"}
        operator.cache.put(schedule.model_copy(update={"metadata": schedule.metadata.model_copy(update=update)}))
    blocked = [state for state in schedule_states() if state.startswith(("its ", "no job"))]
    assert operator.value("voxfleet_schedules_stalled") == len(blocked) > 0
    for result in ("started", "missed"):
        assert operator.value("voxfleet_schedule_runs_total", result=result) == 0


ROW = VerifiedRow("chain", 0, "0" * 64, "2026-11", AttemptKey(UID, 1), True, Activity.SETUP, 1000, 0)
NIGHT_SECONDS = 8 * 3600.0
"""Since the Mac was added: no statement of it has grown."""


@pytest.mark.parametrize(
    ("state", "age_seconds"),
    [
        (AttemptState.RUNNING, 0),
        (AttemptState.PARKED, 0),
        (AttemptState.SUCCEEDED, NIGHT_SECONDS),
        (None, NIGHT_SECONDS),
    ],
)
def test_rows_wait_for_a_statement_once_their_attempt_has_ended(
    operator: Operator, state: AttemptState | None, age_seconds: float
) -> None:
    attempts = {} if state is None else {ROW.attempt: report(1, state)}
    operator.add_mac("mac-a", replace(CONNECTED, rows=(ROW,), attempts=attempts))
    assert operator.value("voxfleet_mac_statement_age_seconds", mac="mac-a") == age_seconds


def test_a_statement_that_a_fast_clock_dated_hides_no_lag(operator: Operator) -> None:
    operator.add_mac("mac-a", replace(CONNECTED, rows=(ROW,)))
    operator.cache.put(
        MachineHourStatement.load(
            {
                "metadata": {"name": "mac-a-2026-11", "uid": "s", "resourceVersion": "1"},
                "spec": {"mac": "mac-a", "month": "2026-11"},
                "status": {"updatedAt": "2026-11-21T07:00:00Z"},
            }
        )
    )
    assert operator.value("voxfleet_mac_statement_age_seconds", mac="mac-a") == NIGHT_SECONDS


@pytest.mark.parametrize(("quarantined", "used"), [(0, 0.0), (1, 0.5), (2, 1.0), (4, 2.0)])
def test_the_quarantine_budget_is_the_contracts(quarantined: int, used: float) -> None:
    job = job_states()["running"]
    assert job.status.contract is not None
    clips = job.status.clips.model_copy(update={"total": 100, "quarantined": quarantined})
    counted = job.model_copy(update={"status": job.status.model_copy(update={"clips": clips})})
    assert job.status.contract.spec.quarantine.max_percent == 2
    assert quarantine_budget_used(counted) == used


def counts(before: str, after: str) -> dict[tuple[str, str], float]:
    registry = CollectorRegistry()
    count_write(WorkMetrics(registry), shard_states()[before], shard_states()[after])
    return {
        (sample.name, "/".join(sample.labels.values())): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.value and sample.name.endswith("_total")
    }


ATTEMPT, RETRY = "voxfleet_attempts_total", "voxfleet_shard_retries_total"


@pytest.mark.parametrize(
    ("before", "after", "counted"),
    [
        ("assigned", "assigned", {}),
        (
            "assigned",
            "its attempt failed, and it is tried again",
            {(ATTEMPT, "Failed/GpuAbortTimeout"): 1, (RETRY, "GpuAbortTimeout"): 1},
        ),
        (
            "assigned",
            "its attempt failed in a way of an agent to come",
            {(ATTEMPT, "Failed/OtherFailure"): 1, (RETRY, "OtherFailure"): 1},
        ),
        ("assigned", "its Mac gave it back", {(ATTEMPT, "Returned/MachineReturned"): 1}),
        ("assigned", "taken over from a lost Mac", {(ATTEMPT, "Lost/MachineLost"): 1, (RETRY, "MachineLost"): 1}),
        (
            "assigned again",
            "failed, retried too often",
            {
                (ATTEMPT, "Failed/GpuAbortTimeout"): 1,
                (RETRY, "GpuAbortTimeout"): 1,
                ("voxfleet_shards_exhausted_total", ""): 1,
            },
        ),
        (
            "its attempt failed, and it is tried again",
            "split into halves",
            {("voxfleet_shards_split_total", ""): 1},
        ),
    ],
)
def test_a_write_counts_what_it_says_for_the_first_time(
    before: str, after: str, counted: dict[tuple[str, str], float]
) -> None:
    assert counts(before, after) == counted
    assert counts(after, after) == {}


USED = AttemptUsage(
    chain_id="chain",
    first_sequence=0,
    last_sequence=2,
    rows=3,
    setup_milliseconds=1000,
    work_milliseconds=5000,
    cleanup_milliseconds=500,
    audio_milliseconds=60_000,
)


def _status(shard: AudioShard, **update: object) -> AudioShard:
    return shard.model_copy(update={"status": shard.status.model_copy(update=update)})


def test_machine_time_counts_in_the_class_that_the_job_s_usage_has() -> None:
    returned = record(1, "mac-a", AttemptOutcome.RETURNED, USED)
    at_work = record(2, "mac-b", AttemptOutcome.ASSIGNED, USED)
    delivered = record(2, "mac-b", AttemptOutcome.SUCCEEDED, USED)
    commit = ShardCommit(attempt=2, sha256="ab" * 32)
    folded = FoldedAttempts(attempts=1, setup_milliseconds=1000, work_milliseconds=5000, cleanup_milliseconds=500)
    life = [
        shard_with(record(1, "mac-a", AttemptOutcome.ASSIGNED)),
        shard_with(returned),
        shard_with(returned, at_work),
        _status(shard_with(returned, delivered), commit=commit),
        _status(shard_with(delivered), commit=commit, folded=folded),
    ]
    registry = CollectorRegistry()
    metrics = WorkMetrics(registry)
    told = []
    for before, after in pairwise(life):
        count_write(metrics, before, after)
        told.append(
            tuple(
                registry.get_sample_value("voxfleet_machine_seconds_total", {"class": name})
                for name in ("productive", "retry", "overhead")
            )
        )
    assert told == [(0, 5, 1.5), (0, 5, 3), (5, 5, 3), (5, 5, 3)], "the work at hand has no class yet"
    usage = job_usage(life[-1:], ended=True)
    assert told[-1] == tuple(map(float, (usage.productive_seconds, usage.retry_seconds, usage.overhead_seconds)))


@pytest.mark.parametrize(("stage", "clips"), [(Stage.PROCESS, 2), (Stage.FINALIZE, 0)])
def test_a_clip_counts_where_it_ran_and_not_again_where_it_is_merged(stage: Stage, clips: int) -> None:
    registry = CollectorRegistry()
    before = shard_with(record(1, "mac-a", AttemptOutcome.ASSIGNED))
    before = before.model_copy(update={"spec": before.spec.model_copy(update={"stage": stage})})
    commit = ShardCommit(attempt=1, sha256="ab" * 32)
    count_write(WorkMetrics(registry), before, _status(before, commit=commit, clips=ShardClipCounts(succeeded=2)))
    assert (registry.get_sample_value("voxfleet_clips_total", {"outcome": "succeeded"}) or 0) == clips


def test_a_job_that_ends_is_one_job_in_the_histogram() -> None:
    registry = CollectorRegistry()
    metrics, states = WorkMetrics(registry), job_states()
    for before, after in (("running", "complete"), ("complete", "complete"), ("running", "failed, cancelled")):
        metadata = states[after].metadata.model_copy(update={"creation_timestamp": LATER})
        count_write(metrics, states[before], states[after].model_copy(update={"metadata": metadata}))
    assert registry.get_sample_value("voxfleet_job_duration_seconds_count", {"result": "Finished"}) == 1
    assert registry.get_sample_value("voxfleet_job_duration_seconds_count", {"result": "Cancelled"}) == 1


@pytest.mark.parametrize(
    ("failure_class", "label"),
    [(None, "none"), ("Transport", FailureClass.TRANSPORT), ("OfAnAgentToCome", EventReason.OTHER_FAILURE)],
)
def test_a_class_that_an_agent_makes_up_is_no_label(failure_class: str | None, label: str) -> None:
    assert class_label(failure_class) == label


async def test_a_scrape_is_the_text_of_the_registry(operator: Operator) -> None:
    operator.add_mac("mac-a")
    operator.metrics.api_requested("GET", None, 0.1)
    text = (await render(operator.metrics.registry)).decode()
    assert 'voxfleet_mac_reachable{mac="mac-a"} 1.0' in text
    assert 'voxfleet_api_requests_total{code="none",verb="GET"} 1.0' in text
    assert "voxfleet_leader_transitions 7.0" in text


def test_watches_that_are_not_answered_any_more_are_stale_and_named() -> None:
    clock = Clock()
    health = WatchHealth(["namespaces", "macagents"], clock)
    health.listed()
    assert health.stale() is None
    clock.seconds += WATCH_SECONDS + LATE_SECONDS
    health.listed()
    health.watch_answered("namespaces", 200)
    health.watch_answered("macagents", None)
    assert health.stale() is None
    clock.seconds += 1
    assert health.stale() == "the API server answers no watch of macagents (391 s)"
    health.watch_answered("macagents", 429)
    assert health.stale() is not None
    health.watch_answered("macagents", 200)
    assert health.stale() is None
    assert health.starts["macagents", "none"] == health.starts["macagents", "429"] == 1
    clock.seconds += RELIST_SECONDS + LATE_SECONDS
    health.watch_answered("macagents", 200)
    health.watch_answered("namespaces", 200)
    assert health.stale() == "the last full list is 391 s old"
