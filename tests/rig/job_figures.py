"""What five places say of one job, in the same terms: its report, its bill, an export, the cluster, the metrics."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any, Self

from prometheus_client.parser import text_string_to_metric_families

from voxfleet_api.kinds import AudioBatchJob, MachineHourStatement
from voxfleet_api.quantities import seconds_milliseconds

PRODUCTIVE, RETRY, OVERHEAD = "Productive", "Retry", "Overhead"
Costs = Mapping[str, Decimal]
"""By currency."""


@dataclass
class Figures:
    """Times in milliseconds."""

    classes: Counter[str] = field(default_factory=Counter)
    total: int = 0
    audio: int = 0
    clips: int = 0

    def __sub__(self, before: Self) -> Figures:
        return Figures(
            Counter({name: self.classes[name] - before.classes[name] for name in self.classes}),
            self.total - before.total,
            self.audio - before.audio,
            self.clips - before.clips,
        )


class _DataFigures(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("data-figure"):
            self.found[given["data-figure"] or ""] = given["data-value"] or ""


def of_report(page: str) -> tuple[Figures, Costs]:
    """`page`: report.html, read by the names that its figures have in the document."""
    found = _DataFigures(page).found
    seconds = {name: f"usage.{name.lower()}Seconds" for name in (PRODUCTIVE, RETRY, OVERHEAD)}
    figures = Figures(
        Counter({name: seconds_milliseconds(found[figure]) for name, figure in seconds.items()}),
        seconds_milliseconds(found["usage.machineSeconds"]),
        seconds_milliseconds(found["usage.audioSeconds"]),
        int(found["clips.total"]),
    )
    costs = {name.removeprefix("cost."): Decimal(value) for name, value in found.items() if name.startswith("cost.")}
    return figures, costs


def of_bill(document: str, job: str) -> tuple[Figures, Costs]:
    """`document`: what `voxfleet bill show --by job -o json` prints. `job`: `<namespace>/<name>`."""
    [found] = [group for group in json.loads(document)["groups"] if group["job"] == job]
    figures = Figures(
        Counter({PRODUCTIVE: 0, RETRY: 0, OVERHEAD: 0, **found["classes"]}),
        found["machineMilliseconds"],
        found["audioMilliseconds"],
        found["clips"],
    )
    return figures, {currency: Decimal(cost) for currency, cost in found["costs"].items()}


def of_export(content: str, uid: str) -> tuple[Figures, Costs]:
    """`content`: a CSV in FOCUS."""
    figures, costs = Figures(Counter({PRODUCTIVE: 0, RETRY: 0, OVERHEAD: 0})), dict[str, Decimal]()
    for line in csv.DictReader(content.splitlines()):
        if line["x_OwnerId"] != uid:
            continue
        milliseconds = seconds_milliseconds(line["x_MachineSeconds"])
        figures.classes[line["x_TimeClass"]] += milliseconds
        figures.total += milliseconds
        figures.audio += seconds_milliseconds(line["x_AudioSeconds"])
        figures.clips += int(line["x_Clips"])
        currency = line["BillingCurrency"]
        costs[currency] = costs.get(currency, Decimal(0)) + Decimal(line["BilledCost"])
    return figures, costs


def of_job(job: AudioBatchJob) -> Figures:
    usage = job.status.usage
    seconds = {
        PRODUCTIVE: usage.productive_seconds,
        RETRY: usage.retry_seconds,
        OVERHEAD: usage.overhead_seconds,
    }
    return Figures(
        Counter({name: seconds_milliseconds(text) for name, text in seconds.items()}),
        seconds_milliseconds(usage.machine_seconds),
        seconds_milliseconds(usage.audio_seconds),
        job.status.clips.total,
    )


def of_statements(statements: Iterable[MachineHourStatement], billing_key: str) -> Figures:
    """`billing_key`: one that no other job has."""
    figures = Figures(Counter({PRODUCTIVE: 0, RETRY: 0, OVERHEAD: 0}))
    for statement in statements:
        for total in statement.status.totals:
            if total.billing_key == billing_key:
                figures.classes[total.time_class] += seconds_milliseconds(total.machine_seconds)
                figures.total += seconds_milliseconds(total.machine_seconds)
                figures.audio += seconds_milliseconds(total.audio_seconds)
                figures.clips += total.clips
    return figures


def of_metrics(scrape: str) -> Figures:
    """Of all jobs since the operator started: the difference of two scrapes is that of the jobs between them."""
    samples: list[Any] = [sample for family in text_string_to_metric_families(scrape) for sample in family.samples]
    by_class = {
        sample.labels["class"].capitalize(): round(sample.value * 1000)
        for sample in samples
        if sample.name == "voxfleet_machine_seconds_total"
    }
    return Figures(
        Counter(by_class),
        sum(by_class.values()),
        round(sum(sample.value for sample in samples if sample.name == "voxfleet_audio_seconds_total") * 1000),
        round(sum(sample.value for sample in samples if sample.name == "voxfleet_clips_total")),
    )
