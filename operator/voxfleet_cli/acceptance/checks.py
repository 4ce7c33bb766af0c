"""The five lines of an acceptance: what was measured against what was allowed, and where that is from. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from voxfleet_api.acceptance import CitedRows
from voxfleet_api.conditions import ConditionType, find, is_true
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.job_status import AcceptedContract
from voxfleet_api.kinds.mac_acceptance import AcceptanceCheck, AcceptanceLine
from voxfleet_api.quantities import duration_milliseconds, quantity_bytes, seconds_milliseconds, seconds_text
from voxfleet_api.rows import ClipStatus, ResultRow
from voxfleet_cli.acceptance.finished_run import FinishedRun
from voxfleet_shared.percentile import percentile
from voxfleet_shared.text_difference import word_changes

Rows = Mapping[int, ResultRow]
"""By the clip's index in the whole input."""


@dataclass(frozen=True, slots=True)
class AllowedDifference:
    """How far a Mac may fall behind the baseline."""

    machine_time_percent: int = 120
    """Of the model's time that the baseline took for the same clips."""
    word_errors_percent: int = 1
    """Of the words that the baseline heard."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of the job that tried the Mac."""

    job: AudioBatchJob
    contract: AcceptedContract
    cited: Sequence[CitedRows]
    run: FinishedRun | None
    """None: it has no results."""

    @property
    def ending(self) -> str:
        failed = find(self.job.status.conditions, ConditionType.FAILED)
        return "it has not ended" if failed is None else f"the job failed, {failed.reason}: {failed.message}"


def acceptance_lines(
    trial: Trial, baseline: FinishedRun, expected: Rows, allowed: AllowedDifference
) -> tuple[AcceptanceLine, ...]:
    """`expected`: the baseline's rows of the slice."""
    found = {} if trial.run is None else {index: row for index, row in trial.run.rows.items() if index in expected}
    return (
        _machine_hours(trial, expected, allowed.machine_time_percent),
        _disk_quota(trial),
        _realtime_slo(trial, expected, found),
        _failure_budget(trial, expected, found),
        _repro_bundle(trial, baseline, expected, found, allowed.word_errors_percent),
    )


def _machine_hours(trial: Trial, expected: Rows, percent: int) -> AcceptanceLine:
    """Signed rows alone count: a Mac whose rows are missing or do not verify does not pass."""
    usage = trial.job.status.usage
    work, baseline = seconds_milliseconds(usage.productive_seconds), round(_model_milliseconds(expected))
    limit = baseline * percent // 100
    signed = sum(rows.machine_milliseconds for rows in trial.cited)
    proven = usage.settled and not usage.unverified_attempts and usage.rows > 0
    proven = proven and signed == seconds_milliseconds(usage.machine_seconds)
    value = f"{seconds_text(work)} s of work, {usage.machine_seconds} s signed in {usage.rows} rows"
    return _line(
        AcceptanceCheck.MACHINE_HOURS,
        proven and 0 < work <= limit,
        value if proven else f"{value}; not all of it is proven by verified rows",
        f"{seconds_text(limit)} s of work: {percent} % of the baseline's {seconds_text(baseline)} s; all of it signed",
    )


def _disk_quota(trial: Trial) -> AcceptanceLine:
    scratch, limit = trial.job.status.scratch, quantity_bytes(trial.contract.spec.scratch.max_bytes)
    return _line(
        AcceptanceCheck.DISK_QUOTA,
        trial.run is not None and scratch.high_water_bytes <= limit and not scratch.residue_bytes,
        f"{scratch.high_water_bytes} bytes at most in one attempt, {scratch.residue_bytes} bytes left behind",
        f"{limit} bytes (the contract's scratch.maxBytes), 0 bytes left behind",
    )


def _realtime_slo(trial: Trial, expected: Rows, found: Rows) -> AcceptanceLine:
    slo = trial.contract.spec.slo.offline_tail_p95
    times = sorted(row.timings.infer_milliseconds for row in found.values() if row.timings is not None)
    audio = sum(row.audio_milliseconds for row in found.values())
    model = round(_model_milliseconds(found))
    limit = "1.000 s of the model a second of audio"
    if slo is not None:
        limit = f"p95 {seconds_text(duration_milliseconds(slo))} s (the contract's slo.offlineTailP95), {limit}"
    if not times or not audio:
        return _line(AcceptanceCheck.REALTIME_SLO, False, f"no clip was timed; {trial.ending}", limit)
    p95 = percentile(times, 95)
    keeps = model <= audio and (slo is None or p95 <= duration_milliseconds(slo))
    value = f"p95 {seconds_text(p95)} s, {seconds_text(1000 * model // audio)} s of the model a second of audio"
    return _line(AcceptanceCheck.REALTIME_SLO, keeps and len(found) == len(expected), value, limit)


def _failure_budget(trial: Trial, expected: Rows, found: Rows) -> AcceptanceLine:
    budget = trial.contract.spec.failure_budget
    retries = sum(row.retries or 0 for row in found.values())
    retries_limit = budget.retries_per_hour
    retries_from = "the contract's retriesPerHour"
    if retries_limit is None:
        retries_limit, retries_from = sum(row.retries or 0 for row in expected.values()), "as the baseline"
    quarantined = [row for row in found.values() if row.status is ClipStatus.QUARANTINED]
    audio = sum(row.audio_milliseconds for row in quarantined)
    minutes = budget.quarantined_minutes
    limit = f"{retries_limit} retries ({retries_from}), "
    limit += "no clip in quarantine" if minutes is None else f"{minutes} min in quarantine (quarantinedMinutes)"
    keeps = retries <= retries_limit and (not quarantined if minutes is None else audio <= minutes * 60_000)
    value = f"{retries} retries, {len(quarantined)} clips of {seconds_text(audio)} s in quarantine"
    if not is_true(trial.job.status.conditions, ConditionType.COMPLETE):
        keeps, value = False, f"{value}; {trial.ending}"
    return _line(AcceptanceCheck.FAILURE_BUDGET, keeps, value, limit)


def _repro_bundle(trial: Trial, baseline: FinishedRun, expected: Rows, found: Rows, percent: int) -> AcceptanceLine:
    """The same bytes, contract and model have to give the same words."""
    limit = (
        f"the bytes, contract and model of the baseline for {len(expected)} clips, {percent} % word errors, a bundle"
    )
    run = trial.run
    if run is None:
        return _line(AcceptanceCheck.REPRO_BUNDLE, False, f"no results; {trial.ending}", limit)
    faults = []
    if run.plan.contract_digest != baseline.plan.contract_digest:
        faults.append(f"another contract, {run.plan.contract_digest}")
    if run.plan.model_digest != baseline.plan.model_digest:
        faults.append(f"another model, {run.plan.model_digest}")
    if run.bundle_sha256 is None:
        faults.append("no repro/bundle.json")
    other_bytes = [index for index, row in expected.items() if index in found and found[index].sha256 != row.sha256]
    if other_bytes:
        faults.append(f"clip {other_bytes[0]} and {len(other_bytes) - 1} more have other bytes")
    same = [index for index in expected if index in found and found[index].status is ClipStatus.SUCCEEDED]
    if len(same) < len(expected):
        faults.append(f"{len(expected) - len(same)} of {len(expected)} clips without a result")
    words = [(_words(expected[index]), _words(found[index])) for index in same]
    total, errors = sum(len(reference) for reference, _ in words), 0
    for reference, other in words:
        changes = word_changes(reference, other)
        errors += max(len(reference), len(other)) if changes is None else changes.errors  # too long to be counted
    if 100 * errors > percent * max(1, total):
        faults.append("too many word errors")
    counted = f"{errors} word errors in {total} words of {len(same)} clips"
    value = "; ".join([*faults, counted]) if faults else f"{counted}, bundle sha256 {run.bundle_sha256}"
    return _line(AcceptanceCheck.REPRO_BUNDLE, not faults, value, limit)


def _words(row: ResultRow) -> list[str]:
    return (row.text or "").split()


def _model_milliseconds(rows: Rows) -> float:
    """The model's time for these clips: each batch counts once, shared among its clips."""
    return sum(
        row.timings.infer_milliseconds / max(1, row.batch_size or 1) for row in rows.values() if row.timings is not None
    )


def _line(name: AcceptanceCheck, passed: bool, value: str, limit: str) -> AcceptanceLine:
    return AcceptanceLine(name=name, passed=passed, value=value[:256], limit=limit[:256])
