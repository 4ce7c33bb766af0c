"""report.json and report.html: what became of a job, for people. Pure: no clock, no host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from voxfleet_agent.stages.finalize.job_metrics import JobMetricsSum
from voxfleet_api.attempt_spec import AttemptSpec, FinalizeSpec
from voxfleet_api.digest import canonical_json
from voxfleet_api.kinds.job_model import ModelSource
from voxfleet_api.ladder_table import LadderTable
from voxfleet_api.limit_checks import ContractLimits
from voxfleet_api.machine_time import MachineTime
from voxfleet_api.results import REPORT_DATA_NAME, REPORT_NAME, Counts, FileRef, PlanFile
from voxfleet_api.rows import ClipStatus, ResultRow
from voxfleet_api.run_record import RunRecord
from voxfleet_report.job_page import job_page
from voxfleet_report.job_report import (
    MAX_CLIPS,
    MAX_LADDERS,
    MAX_MACHINES,
    MAX_TEXT,
    JobReport,
    ReportedClip,
    ReportedMachine,
)


class ClipSum:
    """What a report says of rows beside their metrics. Rows come in the order of their indexes."""

    def __init__(self) -> None:
        self.quarantined: list[ReportedClip] = []
        self.failed: list[ReportedClip] = []
        self.quarantined_audio_milliseconds = 0

    def add(self, rows: Iterable[ResultRow]) -> None:
        for row in rows:
            if row.status is ClipStatus.QUARANTINED:
                self.quarantined_audio_milliseconds += row.audio_milliseconds
                _list(self.quarantined, row)
            elif row.status is ClipStatus.FAILED:
                _list(self.failed, row)


def job_report(
    spec: AttemptSpec,
    finalize_spec: FinalizeSpec,
    plan: PlanFile,
    runs: Sequence[RunRecord],
    counts: Counts,
    clips: ClipSum,
    metrics: JobMetricsSum,
    files: Sequence[FileRef],
    machine_time: MachineTime | None,
) -> JobReport:
    found, times = metrics.metrics(), metrics.clip_times()
    runs = sorted(runs, key=lambda run: (run.shard_uid, run.attempt))
    return JobReport(
        namespace=spec.namespace,
        name=spec.job.name,
        uid=spec.job.uid,
        task=spec.task.value,
        billing_key=spec.billing_key,
        contract_digest=spec.contract_digest,
        model_digest=plan.model_digest,
        model=_model(runs[0].model, plan.model_revision) if runs else None,
        manifest_sha256=finalize_spec.manifest_sha256,
        clips=counts,
        audio_milliseconds=found.audio_milliseconds,
        timed_audio_milliseconds=times.audio_milliseconds,
        infer_milliseconds=times.infer_milliseconds,
        quarantined_audio_milliseconds=clips.quarantined_audio_milliseconds,
        retries=found.retries,
        spent_budget=None if machine_time is None else machine_time.spent_budget,
        failure_classes=dict(sorted(found.failure_classes.items())),
        warnings=dict(sorted(found.warnings.items())),
        quarantined=tuple(clips.quarantined),
        failed=tuple(clips.failed),
        times=times.milliseconds,
        rtf=times.rtf_thousandths,
        batch_sizes=dict(sorted(found.batch_sizes.items())),
        ladders=_ladders(runs),
        machines=_machines(runs),
        peak_rss_bytes=max((run.readings.peak_rss_bytes for run in runs), default=0),
        limits=ContractLimits.of(spec.contract),
        machine_time=machine_time,
        files=tuple(files),
    )


def report_files(report: JobReport) -> dict[str, bytes]:
    """File contents by path below the job's folder."""
    return {REPORT_DATA_NAME: canonical_json(report.dump()), REPORT_NAME: job_page(report).encode()}


def _list(listed: list[ReportedClip], row: ResultRow) -> None:
    if len(listed) < MAX_CLIPS:
        error = row.error
        listed.append(
            ReportedClip(
                index=row.index,
                custom_id=row.custom_id[:MAX_TEXT],
                failure_class="" if error is None or error.failure_class is None else error.failure_class.value,
                reason="" if error is None else error.reason[:MAX_TEXT],
            )
        )


def _model(model: ModelSource | None, revision: str | None) -> str | None:
    """By its name and revision. A path is told by its last part: its folders are the owner's."""
    if model is None:
        return None
    if model.hub is not None:
        return f"{model.hub.id} {revision or model.hub.revision}"
    if model.builtin is not None:
        return f"builtin {model.builtin.name.value}"
    named = model.path or model.uri
    return None if named is None else named.rstrip("/").rpartition("/")[2]


def _ladders(runs: Sequence[RunRecord]) -> tuple[LadderTable, ...]:
    distinct: list[LadderTable] = []
    for run in runs:
        if run.ladder is not None and run.ladder not in distinct and len(distinct) < MAX_LADDERS:
            distinct.append(run.ladder)
    return tuple(distinct)


def _machines(runs: Sequence[RunRecord]) -> tuple[ReportedMachine, ...]:
    """The most frequent kinds first."""
    attempts: Counter[bytes] = Counter()
    kinds: dict[bytes, ReportedMachine] = {}
    for run in runs:
        kind = ReportedMachine(
            chip=run.chip, memory_bytes=run.memory_bytes, os=run.os, versions=run.versions, dtype=run.dtype, attempts=0
        )
        key = canonical_json(kind.dump())
        kinds.setdefault(key, kind)
        attempts[key] += 1
    ordered = sorted(kinds, key=lambda key: (-attempts[key], key))
    return tuple(kinds[key].model_copy(update={"attempts": attempts[key]}) for key in ordered[:MAX_MACHINES])
