"""A job beside its contract's limits: conditions, metrics, report and explanation tell the same numbers."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry
from tests.rig.reports import job_report
from tests.unit.operator.decisions.bodies import contract, job_body
from tests.unit.operator.decisions.job_objects import NOW, committed, failed, reasons
from tests.unit.operator.decisions.job_states import decided, limited_job, running_job, with_measured
from tests.unit.operator.decisions.memory_fleet import MEASURED
from tests.unit.operator.decisions.world import World

from voxfleet_api.conditions import ConditionType, find
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.limit_checks import ContractLimits, LimitCheck, LimitName, limit_checks
from voxfleet_api.results import Counts, MeasuredResults, SpentBudget
from voxfleet_cli.explainers import job as explained
from voxfleet_cli.explainers.explanation import Related
from voxfleet_operator.cache import Cache
from voxfleet_operator.monitoring.job_collector import JobCollector
from voxfleet_operator.reconcile.job.contract_limits import job_limit_checks
from voxfleet_operator.reconcile.job.decide import JobSnapshot, plan_job
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_report.job_report import JobReport
from voxfleet_report.limits import shown_limits

SLO, BUDGET = ConditionType.OFFLINE_SLO_MET, ConditionType.WITHIN_FAILURE_BUDGET
ALL = ContractLimits(
    quarantined_clips=5,
    quarantined_percent=2,
    retries_per_hour=50,
    quarantined_minutes=30,
    infer_p95_milliseconds=30_000,
)
FINDINGS = MeasuredResults(infer_p95_milliseconds=45_000, retries=51, quarantined_audio_milliseconds=90_000)


def told(*checks: LimitCheck) -> dict[str, tuple[int, int, bool | None]]:
    return {check.name.value: (check.found, check.limit, check.kept) for check in checks}


def test_each_limit_has_its_figure_and_verdict() -> None:
    assert told(*limit_checks(Counts(succeeded=196, quarantined=4), FINDINGS, ALL)) == {
        "QuarantinedClips": (4, 5, True),
        "QuarantinedPercent": (400, 400, True),
        "OfflineTailP95": (45_000, 30_000, False),
        "RetriesPerHour": (51, 50, None),
        "QuarantinedMinutes": (90_000, 1_800_000, True),
    }
    few = told(*limit_checks(Counts(succeeded=94, quarantined=6), None, ALL))
    assert few == {"QuarantinedClips": (6, 5, False), "QuarantinedPercent": (600, 200, False)}


def test_a_limit_that_the_contract_lacks_is_not_told() -> None:
    none = ContractLimits(quarantined_clips=0, quarantined_percent=0)
    checks = limit_checks(Counts(succeeded=1), FINDINGS, none)
    assert [check.name for check in checks] == [LimitName.QUARANTINED_CLIPS, LimitName.QUARANTINED_PERCENT]
    untimed = FINDINGS.model_copy(update={"infer_p95_milliseconds": None})
    assert "OfflineTailP95" not in told(*limit_checks(Counts(), untimed, ALL))
    job = running_job()
    done = committed(job, Stage.PROCESS, 0, succeeded=60), committed(job, Stage.PROCESS, 1, succeeded=40)
    status = with_measured(job, 45_000, 51, 0, *done)
    assert {SLO.value, BUDGET.value}.isdisjoint(reasons(status)) and status.measured is not None


def test_where_nothing_is_allowed_one_clip_counts_as_two() -> None:
    (clips, _) = limit_checks(Counts(quarantined=1), None, ContractLimits(quarantined_clips=0, quarantined_percent=0))
    assert clips.used_ratio == 2 and clips.verdict == "exceeded"


@pytest.mark.parametrize(
    ("p95", "retries", "quarantined", "slo", "budget"),
    [
        (30_000, 50, 1_800_000, ("True", "TailWithinSLO"), ("True", "WithinBudget")),
        (30_001, 50, 1_800_000, ("False", "TailBeyondSLO"), ("True", "WithinBudget")),
        (30_000, 51, 0, ("True", "TailWithinSLO"), ("Unknown", "NotToldByRows")),
        (30_000, 0, 1_800_001, ("True", "TailWithinSLO"), ("Unknown", "NotToldByRows")),
    ],
)
def test_conditions_at_the_border_of_each_limit(
    p95: int, retries: int, quarantined: int, slo: tuple[str, str], budget: tuple[str, str]
) -> None:
    job = limited_job()
    done = committed(job, Stage.PROCESS, 0, succeeded=60), committed(job, Stage.PROCESS, 1, succeeded=40)
    status = with_measured(job, p95, retries, quarantined, *done)
    found = reasons(status)
    assert (found[SLO], found[BUDGET]) == (slo, budget)
    assert found[ConditionType.COMPLETE] == ("True", "Finished")  # the results count all the same


def test_what_agents_say_of_their_worst_hour_leaves_no_verdict_open() -> None:
    spent = SpentBudget(retries_in_an_hour=20, quarantined_audio_milliseconds=60_000)
    many = MeasuredResults(retries=5000, quarantined_audio_milliseconds=9_000_000, spent_budget=spent)
    checks = told(*limit_checks(Counts(), many, ALL))
    assert checks["RetriesPerHour"] == (20, 50, True) and checks["QuarantinedMinutes"] == (60_000, 1_800_000, True)
    job = limited_job()
    done = committed(job, Stage.PROCESS, 0, succeeded=60), committed(job, Stage.PROCESS, 1, succeeded=40)
    status = with_measured(job, 30_000, 5000, 9_000_000, *done, spent=spent)
    found = find(status.conditions, BUDGET)
    assert found is not None and (found.status, found.reason) == ("True", "WithinBudget")
    assert found.message == (
        "20 retries in the worst hour of one Mac, at most 50; 5000 in all;"
        " 60.000 s of audio quarantined on one Mac, at most 30 min; 9000.000 s in all"
    )
    assert_all_tell_the_same(job.model_copy(update={"status": status}))


def test_finalize_is_told_the_most_that_any_mac_has_spent() -> None:
    job = limited_job()
    shards = [
        committed(job, Stage.PROCESS, 0, succeeded=60),
        committed(job, Stage.PROCESS, 1, succeeded=40),
    ]
    (finalize,) = plan_job(JobSnapshot(job, JobShards.of(job, shards), None), NOW).create
    assert finalize.machine_time is not None and finalize.machine_time.spent_budget is None  # older agents
    spent = [SpentBudget(retries_in_an_hour=7), SpentBudget(quarantined_audio_milliseconds=9)]
    shards = [
        shard.model_copy(update={"status": shard.status.model_copy(update={"spent_budget": said})})
        for shard, said in zip(shards, spent, strict=True)
    ]
    (finalize,) = plan_job(JobSnapshot(job, JobShards.of(job, shards), None), NOW).create
    assert finalize.machine_time is not None
    assert finalize.machine_time.spent_budget == SpentBudget(retries_in_an_hour=7, quarantined_audio_milliseconds=9)


def test_a_budget_that_a_mac_has_used_up_is_told_before_the_end() -> None:
    job = limited_job()
    status = decided(job, failed(job, 0, "FailureBudgetExhausted"))
    assert reasons(status)[BUDGET] == ("False", "FailureBudgetExhausted") and SLO not in reasons(status)


def metrics_of(job: AudioBatchJob) -> dict[str, float]:
    cache, registry = Cache(), CollectorRegistry()
    cache.put(job)
    registry.register(JobCollector(cache, 7))
    found = {
        f"limit {name.value}": registry.get_sample_value("voxfleet_jobs_limit_used_ratio", {"limit": name.value})
        for name in LimitName
    }
    for type_ in (SLO, BUDGET):
        value = registry.get_sample_value("voxfleet_jobs_beyond_limits", {"condition": type_.value})
        found[f"beyond {type_.value}"] = value
    return {name: value for name, value in found.items() if value is not None}


def report_of(job: AudioBatchJob) -> JobReport:
    """As Finalize writes it, which told the operator the same numbers."""
    status = job.status
    assert status.contract is not None and status.measured is not None
    report = job_report(clips=100)
    infer = report.times["infer"].model_copy(update={"p95": status.measured.infer_p95_milliseconds})
    return report.model_copy(
        update={
            "clips": Counts(**status.clips.model_dump(include={"succeeded", "failed", "quarantined", "not_run"})),
            "limits": ContractLimits.of(status.contract.spec),
            "times": {**report.times, "infer": infer},
            "retries": status.measured.retries,
            "quarantined_audio_milliseconds": status.measured.quarantined_audio_milliseconds,
            "spent_budget": status.measured.spent_budget,
        }
    )


def assert_all_tell_the_same(job: AudioBatchJob) -> None:
    checks = job_limit_checks(job.status)
    report = report_of(job)
    assert report.measured == job.status.measured
    assert limit_checks(report.clips, report.measured, report.limits) == checks
    shown = list(shown_limits(report))
    assert [limit.verdict for limit in shown] == [check.verdict for check in checks]
    by_key = {limit.found.name: limit.found.value for limit in shown}
    names = ("limits.inferP95Milliseconds", "limits.retries", "limits.quarantinedMilliseconds")
    assert [by_key[name] for name in names] == [check.found for check in checks[2:]]
    metrics = metrics_of(job)
    assert {name: value for name, value in metrics.items() if name.startswith("limit")} == {
        f"limit {check.name.value}": check.used_ratio for check in checks
    }
    by_name = {check.name: check for check in checks}
    tail = find(job.status.conditions, SLO)
    assert tail is not None and tail.message == by_name[LimitName.OFFLINE_TAIL_P95].text
    assert metrics[f"beyond {SLO.value}"] == (tail.status == "False") == (not by_name[LimitName.OFFLINE_TAIL_P95].kept)
    budget = find(job.status.conditions, BUDGET)
    assert budget is not None and by_name[LimitName.RETRIES_PER_HOUR].text in budget.message
    told_by_why = explained.EXPLAINER.details(job, Related(()))["limits"]
    assert told_by_why == [
        {"limit": check.name.value, "verdict": check.verdict, "found": check.text} for check in checks
    ]


@pytest.mark.parametrize(("p95", "retries"), [(12_000, 3), (45_000, 51)])
def test_conditions_metrics_report_and_why_tell_the_same(p95: int, retries: int) -> None:
    job = limited_job()
    done = (
        committed(job, Stage.PROCESS, 0, succeeded=59, quarantined=1),
        committed(job, Stage.PROCESS, 1, succeeded=40),
    )
    assert_all_tell_the_same(job.model_copy(update={"status": with_measured(job, p95, retries, 60_000, *done)}))


async def test_what_finalize_measured_reaches_condition_and_metric() -> None:
    world = World(seed=3)
    budget = {"retriesPerHour": 2, "quarantinedMinutes": 30}
    world.api.add(
        contract(slo={"offlineTailP95": "10s"}, failureBudget=budget, batching={"ladder": {}}) | {"metadata": {**NAMED}}
    )
    world.api.add(job_body(contractRef={"name": "strict"}))
    await world.settle()
    (job,) = world.api.all(AudioBatchJob)
    assert job.status.measured == MEASURED
    assert reasons(job.status)[SLO] == ("False", "TailBeyondSLO")
    assert reasons(job.status)[BUDGET] == ("Unknown", "NotToldByRows")
    assert_all_tell_the_same(job)
    assert [note for _, reason, note in world.journal.published if reason == "TailBeyondSLO"] == [
        "p95 of a clip's inference 12.000 s, at most 10.000 s"
    ]


NAMED = {"name": "strict", "namespace": "team"}
