"""The files of repro/, with which another machine can run a job again and compare results. Pure: no clock, no host."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Literal, TypeVar

from voxfleet_agent.stages.finalize.job_metrics import JobMetrics
from voxfleet_agent.stages.job_files import file_ref
from voxfleet_api.attempt_spec import AttemptSpec, FinalizeSpec
from voxfleet_api.base import Digest, Sha256Hex, SpecModel, Uid
from voxfleet_api.digest import canonical_json
from voxfleet_api.kinds.audio_shard import JobRef
from voxfleet_api.kinds.contract_output import OutputFormat
from voxfleet_api.kinds.job_model import ModelSource
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.ladder_table import LadderTable
from voxfleet_api.results import FileRef, PlanFile
from voxfleet_api.run_record import LaneReadings, RunRecord

T = TypeVar("T")

BUNDLE_NAME = "repro/bundle.json"
METRICS_NAME = "repro/metrics.json"
TABLE_NAME = "repro/batch-table.csv"


class BundleSetting(SpecModel):
    """The machine, versions and environment that some of the attempts ran with."""

    chip: str
    memory_bytes: int
    os: str
    versions: dict[str, str]
    sample_rate_hz: int
    scratch_path: str
    """The scratch folder, without the attempt's own folder in it."""
    environment: dict[str, str]
    blas: str
    dtype: str | None = None
    """What the model computed in."""
    seed: int


class BundleRun(SpecModel):
    """One Process attempt."""

    shard_uid: Uid
    attempt: int
    setting: int
    """Index into `settings`."""
    ladder: int | None = None
    """Index into `ladders`."""
    ladder_milliseconds: int = 0
    """How long the attempt measured batch sizes; 0 when it found the ladder measured."""
    retries: dict[str, int]
    readings: LaneReadings


class ReproBundle(SpecModel):
    """The content of bundle.json."""

    format: Literal["voxfleet.dev/repro/v1"] = "voxfleet.dev/repro/v1"
    namespace: str
    job: JobRef
    task: Task
    contract_digest: Digest
    contract: VoiceContractSpec
    transcription: Transcription
    synthesis: Synthesis | None = None
    formats: tuple[OutputFormat, ...]
    plan_attempt: int
    manifest_sha256: Sha256Hex
    total: int
    model: ModelSource | None = None
    """The model as the job names it; None when nothing ran."""
    model_digest: Digest
    model_revision: str | None = None
    model_files: dict[str, str]
    """sha256 by name of the weights and of every other file of the model; empty when nothing ran."""
    settings: tuple[BundleSetting, ...]
    runs: tuple[BundleRun, ...]
    ladders: tuple[LadderTable, ...]
    files: tuple[FileRef, ...]
    """metrics.json, batch-table.csv, and the result files that they describe."""


class RunRecords:
    """The run records of a job. A few Macs may have run thousands of attempts, so equal values are kept only once."""

    def __init__(self) -> None:
        self.records: list[RunRecord] = []
        self._known: dict[bytes, object] = {}

    def add(self, run: RunRecord) -> None:
        shared = {
            "versions": self._intern(run.versions),
            "model_files": self._intern(run.model_files),
            "environment": self._intern(run.environment),
            "ladder": None if run.ladder is None else self._intern(run.ladder),
        }
        self.records.append(run.model_copy(update=shared))

    def _intern(self, value: dict[str, str] | LadderTable) -> object:
        content = value if isinstance(value, dict) else value.dump()
        return self._known.setdefault(canonical_json(content), value)


def repro_files(
    spec: AttemptSpec,
    finalize_spec: FinalizeSpec,
    plan: PlanFile,
    runs: Sequence[RunRecord],
    metrics: JobMetrics,
    results: Sequence[FileRef],
) -> dict[str, bytes]:
    """File contents by path below the job's folder, the bundle last."""
    runs = sorted(runs, key=lambda run: (run.shard_uid, run.attempt))
    ladders = _distinct([run.ladder for run in runs if run.ladder is not None])
    settings = _distinct([_setting(run) for run in runs])
    contents = {METRICS_NAME: canonical_json(metrics.dump()), TABLE_NAME: batch_table_csv(ladders)}
    bundle = ReproBundle(
        namespace=spec.namespace,
        job=spec.job,
        task=spec.task,
        contract_digest=spec.contract_digest,
        contract=spec.contract,
        transcription=spec.transcription,
        synthesis=spec.synthesis,
        formats=spec.formats,
        plan_attempt=finalize_spec.plan_attempt,
        manifest_sha256=finalize_spec.manifest_sha256,
        total=finalize_spec.total,
        model=runs[0].model if runs else None,
        model_digest=plan.model_digest,
        model_revision=plan.model_revision,
        model_files=runs[0].model_files if runs else {},
        settings=tuple(settings),
        runs=tuple(
            BundleRun(
                shard_uid=run.shard_uid,
                attempt=run.attempt,
                setting=settings.index(_setting(run)),
                ladder=None if run.ladder is None else ladders.index(run.ladder),
                ladder_milliseconds=run.ladder_milliseconds,
                retries=run.retries,
                readings=run.readings,
            )
            for run in runs
        ),
        ladders=tuple(ladders),
        files=(*(file_ref(name, content) for name, content in contents.items()), *results),
    )
    return {**contents, BUNDLE_NAME: canonical_json(bundle.dump())}


def batch_table_csv(ladders: Sequence[LadderTable]) -> bytes:
    """CSV with a header line: one line for each batch size of each table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            "table",
            "model_digest",
            "chip",
            "sample_rate_hz",
            "memory_cap_bytes",
            "batch_size",
            "peak_rss_bytes",
            "metal_peak_bytes",
            "audio_milliseconds",
            "infer_milliseconds",
            "audio_seconds_per_second",
            "rtf",
            "clip_p50_milliseconds",
            "clip_p95_milliseconds",
            "scratch_bytes",
            "memory_knee",
            "latency_knee",
            "throughput_knee",
            "chosen",
        ]
    )
    for number, table in enumerate(ladders):
        for tier in table.tiers:
            writer.writerow(
                [
                    number,
                    table.model_digest,
                    table.chip,
                    table.sample_rate_hz,
                    table.memory_cap_bytes,
                    tier.batch_size,
                    tier.peak_rss_bytes,
                    "" if tier.metal_peak_bytes is None else tier.metal_peak_bytes,
                    tier.audio_milliseconds,
                    tier.infer_milliseconds,
                    _ratio(tier.audio_milliseconds, tier.infer_milliseconds),
                    _ratio(tier.infer_milliseconds, tier.audio_milliseconds),
                    tier.clip_p50_milliseconds,
                    tier.clip_p95_milliseconds,
                    tier.scratch_bytes,
                    table.memory_knee,
                    table.latency_knee,
                    table.throughput_knee,
                    table.chosen,
                ]
            )
    return text.getvalue().encode()


def _setting(run: RunRecord) -> BundleSetting:
    return BundleSetting(
        chip=run.chip,
        memory_bytes=run.memory_bytes,
        os=run.os,
        versions=run.versions,
        sample_rate_hz=run.sample_rate_hz,
        scratch_path=run.scratch_path,
        environment=run.environment,
        blas=run.blas,
        dtype=run.dtype,
        seed=run.seed,
    )


def _ratio(numerator: int, denominator: int) -> str:
    """A quotient with three decimals, rounded down, computed without floats."""
    thousandths = numerator * 1000 // max(1, denominator)
    return f"{thousandths // 1000}.{thousandths % 1000:03d}"


def _distinct(items: Sequence[T]) -> list[T]:
    distinct: list[T] = []
    for item in items:
        if item not in distinct:
            distinct.append(item)
    return distinct
