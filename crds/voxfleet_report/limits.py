"""What a job found beside what its contract allows, as its report shows it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from voxfleet_api.limit_checks import LimitCheck, LimitName, limit_checks
from voxfleet_report import figures
from voxfleet_report.job_report import JobReport
from voxfleet_report.page import Figure


@dataclass(frozen=True, slots=True)
class ShownLimit:
    name: str
    found: Figure
    limit: str
    kept: bool | None
    verdict: str


def shown_limits(report: JobReport) -> Iterator[ShownLimit]:
    """The verdicts are those of the job's conditions."""
    for check in limit_checks(report.clips, report.measured, report.limits):
        yield _shown(check, report)


def _shown(check: LimitCheck, report: JobReport) -> ShownLimit:
    found, clips, spent = check.found, report.clips, report.spent_budget
    match check.name:
        case LimitName.QUARANTINED_CLIPS:
            name, limit = "clips in quarantine", f"at most {figures.count(check.limit)}"
            figure = Figure("limits.quarantinedClips", found, figures.count(found))
        case LimitName.QUARANTINED_PERCENT:
            name, limit = "share of clips in quarantine", f"at most {report.limits.quarantined_percent} %"
            share = figures.percent(clips.quarantined, clips.total)
            figure = Figure("limits.quarantinedPercent", share.removesuffix(" %"), share)
        case LimitName.OFFLINE_TAIL_P95:
            name, limit = "p95 of a clip's inference", f"at most {figures.duration(check.limit)}"
            figure = Figure("limits.inferP95Milliseconds", found, figures.duration(found))
        case LimitName.RETRIES_PER_HOUR:
            name = "retries of the whole job" if spent is None else "retries in the worst hour of one Mac"
            limit = f"at most {figures.count(check.limit)} in an hour on one Mac"
            figure = Figure("limits.retries", found, figures.count(found))
        case LimitName.QUARANTINED_MINUTES:
            minutes = figures.count(report.limits.quarantined_minutes or 0)
            name = "audio in quarantine" if spent is None else "audio quarantined on one Mac"
            limit = f"at most {minutes} min on one Mac"
            figure = Figure("limits.quarantinedMilliseconds", found, figures.duration(found))
    return ShownLimit(name, figure, limit, check.kept, check.verdict)
