"""Alerts and dashboard ask only for metrics that there are, and each alert has its runbook."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from promql_parser import AggregateExpr, Expr, VectorSelector

from voxfleet_agent.metric_list import METRICS as AGENT_METRICS
from voxfleet_operator.metric_list import EVENTS, LOOP_STALLS, METRICS
from voxfleet_operator.metrics import OperatorMetrics
from voxfleet_shared.metric_specs import MetricSpec, MetricType

REPOSITORY = Path(__file__).resolve().parents[3]
FILES = REPOSITORY / "charts" / "voxfleet" / "files"
RUNBOOKS = REPOSITORY / "docs" / "runbooks"
SECTIONS = ["Impact", "Diagnosis", "Mend"]
SERIES: Mapping[str, MetricSpec] = {name: spec for spec in (*METRICS, *AGENT_METRICS) for name in spec.series}
COUNTED_AT_A_SCRAPE = (EVENTS, LOOP_STALLS)
"""What is read then has all of its series."""
OF_THE_PROCESS = frozenset({"process_cpu_seconds_total", "process_resident_memory_bytes"})
ALERTS: dict[str, Mapping[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
}
DASHBOARD: Mapping[str, Any] = json.loads((FILES / "dashboard.json").read_text())
EXPRESSIONS = {
    **{name: rule["expr"] for name, rule in ALERTS.items()},
    **{
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    },
}


def parts(expression: str) -> list[Expr]:
    found: list[Expr] = []
    promql_parser.walk(promql_parser.parse(expression), pre_visit=lambda part: found.append(part))
    return found


def unknown(expression: str) -> Iterator[str]:
    """Metrics and labels of the expression that there are not."""
    labels: set[str] = {"le", "instance"}
    asked: set[str] = set()
    for part in parts(expression):
        if isinstance(part, VectorSelector):
            spec = SERIES.get(part.name or "")
            if spec is None and part.name not in OF_THE_PROCESS:
                yield part.name or "a selector without a name"
            own = {matcher.name for matcher in part.matchers.matchers}
            if spec is not None:
                labels |= {*spec.labels}
                yield from (f"{part.name}{{{name}}}" for name in own - {*spec.labels})
        if isinstance(part, AggregateExpr) and part.modifier is not None:
            asked |= {*part.modifier.labels}
    yield from sorted(asked - labels)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_asks_for_what_there_is(name: str) -> None:
    assert list(unknown(EXPRESSIONS[name])) == []


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("voxfleet_no_such > 1", ["voxfleet_no_such"]),
        ('sum(rate(voxfleet_api_requests_total{kode="500"}[5m]))', ["voxfleet_api_requests_total{kode}"]),
        ("sum by (job) (voxfleet_leader)", ["job"]),
        (
            "voxfleet_reconcile > 1 and on () voxfleet_job_duration_seconds > 2",
            ["voxfleet_reconcile", "voxfleet_job_duration_seconds"],
        ),
    ],
)
def test_the_check_finds_what_there_is_not(expression: str, found: list[str]) -> None:
    assert list(unknown(expression)) == found


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_a_counter_is_asked_for_its_growth(name: str) -> None:
    """Its value says when the process began, and little else; but where it has just appeared, it is all growth."""
    on_one_line = " ".join(promql_parser.parse(EXPRESSIONS[name]).prettify().split())
    text = re.sub(r"(\S+) unless \1 offset \w+", "", on_one_line)
    for series, spec in SERIES.items():
        if spec.type is MetricType.GAUGE:
            continue
        for found in re.finditer(rf"\b{series}\b(\{{[^}}]*\}})?", text):
            assert text[found.end() :].startswith("["), f"{series} without a range"


def test_a_series_whose_growth_an_alert_asks_for_is_there_from_the_start() -> None:
    """One that begins at 1 has not grown, so that nobody would be told of the first time."""
    registry, asked = OperatorMetrics().registry, 0
    families = {sample.name: family for family in registry.collect() for sample in family.samples}
    for name, rule in ALERTS.items():
        for series, matchers in re.findall(r"increase\((\w+)(?:\{(.*?)\})?\[", rule["expr"]):
            wanted = re.findall(r'(\w+)="([^"]+)"', matchers)
            if SERIES[series] in COUNTED_AT_A_SCRAPE:
                continue
            asked += 1
            samples = [item.labels for item in families[series].samples if item.name == series]
            assert [labels for labels in samples if labels.items() >= dict(wanted).items()], f"{name}: {series}"
    assert asked >= 4


def test_each_alert_has_its_runbook_and_each_runbook_its_alert() -> None:
    assert {file.stem for file in RUNBOOKS.glob("*.md")} == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_and_a_runbook_what_to_do(name: str) -> None:
    rule = ALERTS[name]
    assert name.startswith("VoxFleet") and rule["labels"]["severity"] in ("info", "warning", "critical")
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md" and "for" in rule
    assert all(rule["annotations"][part].endswith(".") for part in ("summary", "description"))
    lines = (RUNBOOKS / f"{name}.md").read_text().splitlines()
    assert lines[0] == f"# {name}" and lines[2]
    assert [line.removeprefix("## ") for line in lines if line.startswith("## ")] == SECTIONS
    command = lines[lines.index("```sh") + 1]
    assert lines[lines.index("```sh") + 2] == "```", "one command"
    assert command.startswith(("kubectl ", "voxfleet "))
    if "kubectl logs" in command:
        assert " --tail=-1 " in command, "with -l, kubectl prints ten lines of each pod"


@pytest.mark.parametrize("name", ALERTS)
def test_links_of_a_runbook_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", (RUNBOOKS / f"{name}.md").read_text()):
        assert (RUNBOOKS / target).resolve().is_file(), target


@pytest.mark.parametrize("name", ALERTS)
def test_metrics_that_a_runbook_names_are_there(name: str) -> None:
    for metric in re.findall(r"\bvoxfleet_[a-z_]+", (RUNBOOKS / f"{name}.md").read_text()):
        assert metric in SERIES or any(spec.name == metric for spec in METRICS), metric
