"""What a job found beside what its contract allows. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from voxfleet_report import figures
from voxfleet_report.job_report import JobReport
from voxfleet_report.page import Figure


@dataclass(frozen=True, slots=True)
class LimitCheck:
    name: str
    found: Figure
    limit: str
    kept: bool | None
    """None: there is no limit, or rows do not tell."""

    @property
    def verdict(self) -> str:
        return "not told by rows" if self.kept is None else "kept" if self.kept else "exceeded"


def limit_checks(report: JobReport) -> Iterator[LimitCheck]:
    clips, limits = report.clips, report.limits
    total = clips.total
    yield LimitCheck(
        "clips in quarantine",
        Figure("limits.quarantinedClips", clips.quarantined, figures.count(clips.quarantined)),
        f"at most {figures.count(limits.quarantined_clips)}",
        clips.quarantined <= limits.quarantined_clips,
    )
    yield LimitCheck(
        "share of clips in quarantine",
        Figure(
            "limits.quarantinedPercent",
            figures.percent(clips.quarantined, total).removesuffix(" %"),
            figures.percent(clips.quarantined, total),
        ),
        f"at most {limits.quarantined_percent} %",
        clips.quarantined * 100 <= limits.quarantined_percent * total,
    )
    if limits.infer_p95_milliseconds is not None and "infer" in report.times:
        p95 = report.times["infer"].p95
        yield LimitCheck(
            "p95 of a clip's inference",
            Figure("limits.inferP95Milliseconds", p95, figures.duration(p95)),
            f"at most {figures.duration(limits.infer_p95_milliseconds)}",
            p95 <= limits.infer_p95_milliseconds,
        )
    if limits.retries_per_hour is not None:
        yield LimitCheck(
            "retries of the whole job",
            Figure("limits.retries", report.retries, figures.count(report.retries)),
            f"at most {figures.count(limits.retries_per_hour)} in an hour on one Mac",
            True if report.retries <= limits.retries_per_hour else None,
        )
    if limits.quarantined_minutes is not None:
        found = report.quarantined_audio_milliseconds
        yield LimitCheck(
            "audio in quarantine",
            Figure("limits.quarantinedMilliseconds", found, figures.duration(found)),
            f"at most {figures.count(limits.quarantined_minutes)} min on one Mac",
            True if found <= limits.quarantined_minutes * 60_000 else None,
        )
