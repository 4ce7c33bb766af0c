"""report.html of a job. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import htpy as h

from voxfleet_api.ladder_table import LadderTable
from voxfleet_report import figures
from voxfleet_report.charts import Mark, Point, histogram, ladder
from voxfleet_report.distribution import Distribution
from voxfleet_report.job_report import JobReport, ReportedClip
from voxfleet_report.limits import shown_limits
from voxfleet_report.machine_time_section import Costs, machine_tiles, machine_time_section
from voxfleet_report.page import (
    Cell,
    Column,
    Figure,
    figure,
    name,
    note,
    page,
    paragraph,
    section,
    table,
    tiles,
    verdict,
)

_TIME_NAMES = {
    "latency": "latency: from the start of the fetch to the durable row",
    "own": "the clip's own time: latency without the wait",
    "fetch": "fetch",
    "decode": "decode",
    "wait": "wait behind other clips",
    "infer": "inference of the clip's batch",
    "write": "write",
}


def job_page(report: JobReport, note_below: str | None = None, costs: Costs = ()) -> str:
    """`note_below`: what is to be said of where the figures come from. `costs`: by currency, where they are known."""
    return page(
        f"{report.namespace}/{report.name}: report",
        [
            h.header[
                h.h1["Job ", name(f"{report.namespace}/{report.name}")],
                paragraph(_outcome(report)),
                note(note_below) if note_below else None,
            ],
            _summary(report, costs),
            _limits(report),
            _clips("Quarantine", "quarantined", report.quarantined, report.clips.quarantined),
            _clips("Failed clips", "failed", report.failed, report.clips.failed),
            _counts("Why clips have no result", "class", "Failure class", report.failure_classes),
            _counts("Warnings", "warning", "Warning", report.warnings),
            _times(report),
            _ladders(report),
            machine_time_section(report.machine_time),
            _machines(report),
            _repro(report),
        ],
    )


def _outcome(report: JobReport) -> h.Node:
    clips = report.clips
    if clips.succeeded == clips.total:
        return verdict(kept=True, text=f"All {figures.count(clips.total)} clips have a result.")
    return verdict(
        kept=False if clips.failed or clips.not_run else None,
        text=f"{figures.count(clips.succeeded)} of {figures.count(clips.total)} clips have a result.",
    )


def _summary(report: JobReport, costs: Costs) -> h.Element:
    clips, latency = report.clips, report.times.get("latency")
    counted = {
        "clips": ("clips.total", clips.total),
        "with a result": ("clips.succeeded", clips.succeeded),
        "quarantined": ("clips.quarantined", clips.quarantined),
        "failed": ("clips.failed", clips.failed),
        "not run": ("clips.notRun", clips.not_run),
        "retries": ("retries", report.retries),
    }
    return section(
        "Summary",
        tiles(
            [
                *((label, Figure(key, value, figures.count(value))) for label, (key, value) in counted.items()),
                ("audio", _milliseconds("audioMilliseconds", report.audio_milliseconds)),
                ("latency p95", None if latency is None else _milliseconds("latency.p95Milliseconds", latency.p95)),
                ("real-time factor", _rtf(report)),
                *machine_tiles(report.machine_time, costs),
            ]
        ),
    )


def _rtf(report: JobReport) -> Figure | None:
    if not report.timed_audio_milliseconds:
        return None
    thousandths = report.infer_milliseconds * 1000 // report.timed_audio_milliseconds
    return Figure("rtf", figures.ratio(thousandths), figures.ratio(thousandths))


def _limits(report: JobReport) -> h.Element:
    rows: list[Sequence[Cell]] = [
        (shown.name, shown.found, shown.limit, verdict(kept=shown.kept, text=shown.verdict))
        for shown in shown_limits(report)
    ]
    columns = (Column("Limit"), Column("Found", number=True), Column("Contract", number=True), Column("Verdict"))
    return section("Limits of the contract", table("What was found, beside what the contract allows", columns, rows))


def _clips(title: str, key: str, listed: Sequence[ReportedClip], total: int) -> h.Element | None:
    if not total:
        return None
    columns = (Column("Index", number=True), Column("Clip", long=True), Column("Class"), Column("Reason", long=True))
    rows: list[Sequence[Cell]] = [
        (
            Figure(f"{key}.index", clip.index, str(clip.index)),
            name(clip.custom_id),
            clip.failure_class,
            name(clip.reason),
        )
        for clip in listed
    ]
    left_out = total - len(listed)
    return section(
        title,
        table(f"{figures.count(len(listed))} of {figures.count(total)} clips, by index", columns, rows),
        note(f"{figures.count(left_out)} more are in errors.jsonl.") if left_out else None,
    )


def _counts(title: str, key: str, heading: str, counts: Mapping[str, int]) -> h.Element | None:
    if not counts:
        return None
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows: list[Sequence[Cell]] = [
        (code, Figure(f"{key}.{code}", found, figures.count(found))) for code, found in ordered
    ]
    return section(title, table("Clips, most frequent first", (Column(heading), Column("Clips", number=True)), rows))


def _times(report: JobReport) -> h.Element:
    if not report.times:
        return section("Latency", note("No clip with a result was timed."))
    shown = [(key, report.times[key]) for key in ("latency", "own", "infer") if key in report.times]
    drawn: list[h.Node] = [
        _histogram(key, _TIME_NAMES[key], spread, figures.duration) for key, spread in shown if spread.buckets
    ]
    if report.rtf is not None and report.rtf.buckets:
        drawn.append(_histogram("rtf", "real-time factor of each clip", report.rtf, figures.ratio))
    columns = (Column("Time"), *(Column(heading, number=True) for heading in ("p50", "p95", "p99", "longest")))
    rows: list[Sequence[Cell]] = [
        (_TIME_NAMES[key], *_percentiles(key, report.times[key])) for key in _TIME_NAMES if key in report.times
    ]
    if report.rtf is not None:
        rows.append(("real-time factor: seconds of inference per second of audio", *_rtf_percentiles(report.rtf)))
    return section(
        "Latency and real-time factor",
        table(f"Of {figures.count(next(iter(report.times.values())).clips)} clips with a result", columns, rows),
        h.div(".charts")[drawn],
        note("Percentiles are values that occurred. Bars count clips; the buckets grow with the time."),
    )


def _percentiles(key: str, spread: Distribution) -> Iterator[Cell]:
    for which in ("p50", "p95", "p99", "max"):
        value = int(getattr(spread, which))
        yield Figure(f"{key}.{which}Milliseconds", value, figures.duration(value))


def _rtf_percentiles(spread: Distribution) -> Iterator[Cell]:
    for which in ("p50", "p95", "p99", "max"):
        text = figures.ratio(int(getattr(spread, which)))
        yield Figure(f"rtf.{which}", text, text)


def _histogram(key: str, title: str, spread: Distribution, text: Callable[[int], str]) -> h.Element:
    marks = (Mark("p50", spread.p50), Mark("p95", spread.p95), Mark("p99", spread.p99))
    return histogram(f"chart-{key}", title, spread.buckets, marks, text)


def _ladders(report: JobReport) -> h.Element | None:
    measured = [found for found in report.ladders if found.tiers]
    if not measured:
        return None
    return section("Batch sizes", *(part for number, found in enumerate(measured) for part in _ladder(number, found)))


def _ladder(number: int, found: LadderTable) -> Iterator[h.Node]:
    key = f"ladder-{number}"

    def points(values: Sequence[int]) -> list[Point]:
        return [
            Point(str(tier.batch_size), value, tier.batch_size == found.chosen)
            for tier, value in zip(found.tiers, values, strict=True)
        ]

    yield h.h3[f"{found.chip}, {found.sample_rate_hz} Hz: batches of {found.chosen}"]
    speeds = [tier.audio_milliseconds * 1000 // max(1, tier.infer_milliseconds) for tier in found.tiers]
    slowest = [tier.clip_p95_milliseconds for tier in found.tiers]
    memory = [max(tier.peak_rss_bytes, tier.metal_peak_bytes or 0) for tier in found.tiers]
    limit = found.tail_p95_milliseconds
    yield h.div(".charts")[
        ladder(f"{key}-speed", "seconds of audio per second", points(speeds), figures.ratio, None),
        ladder(
            f"{key}-p95",
            "p95 of a clip's inference",
            points(slowest),
            figures.duration,
            None if limit is None else Mark("limit", limit),
        ),
        ladder(
            f"{key}-memory", "memory at its peak", points(memory), figures.size, Mark("cap", found.memory_cap_bytes)
        ),
    ]
    columns = (
        Column("Batch size"),
        *(Column(heading, number=True) for heading in ("Audio s/s", "p50", "p95", "Peak memory")),
        Column("Chosen"),
    )
    yield table(
        f"Measured batch sizes; knees: memory {found.memory_knee}, latency {found.latency_knee}, throughput"
        f" {found.throughput_knee}",
        columns,
        [
            (
                str(tier.batch_size),
                figures.ratio(speed),
                figures.duration(tier.clip_p50_milliseconds),
                figures.duration(tier.clip_p95_milliseconds),
                figures.size(peak),
                "used" if tier.batch_size == found.chosen else "",
            )
            for tier, speed, peak in zip(found.tiers, speeds, memory, strict=True)
        ],
    )


def _machines(report: JobReport) -> h.Element | None:
    if not report.machines:
        return None
    columns = (
        Column("Chip"),
        Column("Memory", number=True),
        Column("System", long=True),
        Column("Software", long=True),
        Column("Attempts", number=True),
    )
    rows: list[Sequence[Cell]] = [
        (
            machine.chip,
            figures.size(machine.memory_bytes),
            machine.os,
            ", ".join(f"{package} {version}" for package, version in sorted(machine.versions.items())),
            figures.count(machine.attempts),
        )
        for machine in report.machines
    ]
    batches = ", ".join(
        f"{figures.count(found)} in batches of {size}"
        for size, found in sorted(report.batch_sizes.items(), key=lambda item: int(item[0]))
    )
    return section(
        "Where it ran",
        table("Machines and software of the attempts that delivered results", columns, rows),
        paragraph("Peak memory of a lane: ", figure(_bytes("peakRssBytes", report.peak_rss_bytes)), "."),
        paragraph(f"Clips: {batches}.") if batches else None,
    )


def _repro(report: JobReport) -> h.Element:
    facts: list[tuple[str, str]] = [
        ("job UID", report.uid),
        ("task", report.task),
        ("billing key", report.billing_key or "none"),
        ("contract", report.contract_digest),
        ("model", report.model or "none ran"),
        ("model files", report.model_digest),
        ("manifest sha256", report.manifest_sha256),
    ]
    columns = (Column("File"), Column("Bytes", number=True), Column("sha256", long=True))
    rows: list[Sequence[Cell]] = [
        (file.path, figures.count(file.size_bytes), h.code[file.sha256]) for file in report.files
    ]
    return section(
        "Repeat and verify",
        table(
            "What was run", (Column("Fact"), Column("Value", long=True)), [(fact, name(value)) for fact, value in facts]
        ),
        table("Files beside this report", columns, rows),
        paragraph("On another machine, in the folder of this report:"),
        h.pre[h.code["voxfleet-agent repro verify repro/bundle.json"]],
    )


def _milliseconds(key: str, value: int) -> Figure:
    return Figure(key, value, figures.duration(value))


def _bytes(key: str, value: int) -> Figure:
    return Figure(key, value, figures.size(value))
