"""metrics.json, batch-table.csv and bundle.json are made from rows and run records only."""

from __future__ import annotations

import csv
import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rig.attempt_spec import SPEECH, attempt_spec

from voxfleet_agent.percentiles import percentiles
from voxfleet_agent.stages.finalize.job_metrics import JobMetricsSum
from voxfleet_agent.stages.finalize.repro import ReproBundle, batch_table_csv, repro_files
from voxfleet_api.attempt_spec import FinalizeSpec
from voxfleet_api.digest import digest_of, sha256_hex
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.job_model import BuiltinModel, BuiltinName, ModelSource
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.ladder_table import LadderTable, LadderTier
from voxfleet_api.results import PlanFile
from voxfleet_api.rows import ClipStatus, ResultRow, RowError, Timings
from voxfleet_api.run_record import RunRecord

DIGEST = "sha256:" + "5" * 64
CONTRACT = VoiceContractSpec(input=SPEECH)
FINALIZE_SPEC = FinalizeSpec(plan_attempt=1, manifest_sha256="1" * 64, total=2, commits=())
PLAN = PlanFile(
    manifest_sha256="1" * 64, model_digest=DIGEST, boundaries=(0, 2), audio_seconds="2.000", contract_digest=DIGEST
)
SPEC = attempt_spec(Stage.FINALIZE, "finalize", CONTRACT, finalize=FINALIZE_SPEC)


def row(index: int, infer: int, *, batch_size: int = 1, fetch: int = 0) -> ResultRow:
    return ResultRow(
        index=index,
        custom_id=str(index),
        status=ClipStatus.SUCCEEDED,
        audio_milliseconds=1000,
        timings=Timings(fetch_milliseconds=fetch, wait_milliseconds=7000, infer_milliseconds=infer),
        batch_size=batch_size,
        retries=1,
    )


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=300))
def test_percentiles_are_values_that_occurred(values: list[int]) -> None:
    found = percentiles(values)
    assert {found.p50, found.p95, found.p99, found.max} <= set(values)
    assert found.p50 <= found.p95 <= found.p99 <= found.max == max(values)
    for percent, value in ((50, found.p50), (95, found.p95), (99, found.p99)):
        assert sum(item <= value for item in values) * 100 >= percent * len(values)
        assert sum(item < value for item in values) * 100 < percent * len(values)


def test_metrics_split_latency_and_share_a_batch_s_time() -> None:
    rows = [row(index, infer=100 * index, batch_size=2, fetch=5) for index in range(1, 5)]
    bad = row(9, 70).model_copy(
        update={
            "status": ClipStatus.QUARANTINED,
            "error": RowError(failure_class=FailureClass.DECODE_ERROR, reason="ends early"),
        }
    )
    refused = ResultRow(index=8, custom_id="8", status=ClipStatus.NOT_RUN, audio_milliseconds=500)
    total = JobMetricsSum()
    total.add([*rows, bad, refused])
    metrics = total.metrics()
    good = metrics.timings["succeeded"]
    assert (good.clips, good.audio_milliseconds, good.own.max, good.own.p50) == (4, 4000, 405, 205)
    assert (good.latency.max, good.latency.p50, good.stages["wait"].p50) == (7405, 7205, 7000)
    assert (good.stages["infer"].p95, good.stages["fetch"].max, good.stages["write"].max) == (400, 5, 0)
    assert good.rtf == "0.125", "(100 + 200 + 300 + 400) / 2 of 4000 milliseconds"
    assert metrics.clips == {"succeeded": 4, "failed": 0, "quarantined": 1, "not_run": 1}
    assert (metrics.failure_classes, metrics.retries) == ({"DecodeError": 1}, 5)
    assert metrics.batch_sizes == {"1": 1, "2": 4} and set(metrics.timings) == {"succeeded", "quarantined"}
    assert metrics.audio_milliseconds == 5500


def ladder(chosen: int = 2) -> LadderTable:
    tiers = tuple(
        LadderTier(
            batch_size=size,
            peak_rss_bytes=size * 1000,
            metal_peak_bytes=None if size == 1 else 77,
            audio_milliseconds=10_000,
            infer_milliseconds=3_000,
            clip_p50_milliseconds=300,
            clip_p95_milliseconds=400,
        )
        for size in (1, 2)
    )
    return LadderTable(
        model_digest=DIGEST,
        contract_digest=DIGEST,
        chip="M4",
        versions={},
        sample_rate_hz=16000,
        memory_cap_bytes=9000,
        tiers=tiers,
        memory_knee=2,
        latency_knee=1,
        throughput_knee=chosen,
        chosen=chosen,
    )


def run(shard: int, *, chip: str = "M4", table: LadderTable | None = None) -> RunRecord:
    return RunRecord(
        shard_uid=f"shard-{shard}",
        attempt=1,
        chip=chip,
        memory_bytes=2**34,
        os="macOS 26",
        versions={"mlx": "0.32.4"},
        model=ModelSource(builtin=BuiltinModel(name=BuiltinName.COMMANDS)),
        model_digest=DIGEST,
        model_files={"model.safetensors": "5" * 64},
        sample_rate_hz=16000,
        scratch_path="/Volumes/scratch",
        environment={"MLX_AUDIO_BATCH_SIZE": "2"},
        blas="Accelerate",
        seed=7,
        ladder=table,
    )


def test_the_batch_table_has_a_line_for_each_measured_size() -> None:
    lines = list(csv.DictReader(io.StringIO(batch_table_csv([ladder()]).decode())))
    assert [(line["batch_size"], line["peak_rss_bytes"], line["metal_peak_bytes"]) for line in lines] == [
        ("1", "1000", ""),
        ("2", "2000", "77"),
    ]
    assert (lines[0]["audio_seconds_per_second"], lines[0]["rtf"], lines[0]["chosen"]) == ("3.333", "0.300", "2")
    assert batch_table_csv([]).decode().count("\n") == 1


@pytest.mark.parametrize("seed", range(5))
def test_the_bundle_is_a_pure_function_of_its_inputs(seed: int) -> None:
    runs = [run(0, table=ladder()), run(1, table=ladder()), run(2, chip="M2"), run(3, table=ladder(1))]
    metrics = JobMetricsSum().metrics()
    unshuffled = repro_files(SPEC, FINALIZE_SPEC, PLAN, runs, metrics, [])
    random.Random(seed).shuffle(runs)  # noqa: S311 -- a test's order
    files = repro_files(SPEC, FINALIZE_SPEC, PLAN, runs, metrics, [])
    assert files == unshuffled
    assert list(files) == ["repro/metrics.json", "repro/batch-table.csv", "repro/bundle.json"]
    bundle = ReproBundle.model_validate_json(files["repro/bundle.json"])
    assert [(ref.path, ref.sha256) for ref in bundle.files] == [
        (name, sha256_hex(files[name])) for name in ("repro/metrics.json", "repro/batch-table.csv")
    ]
    assert bundle.model == ModelSource(builtin=BuiltinModel(name=BuiltinName.COMMANDS))
    assert (bundle.contract, bundle.contract_digest, bundle.model_files) == (
        CONTRACT,
        digest_of(CONTRACT),
        {"model.safetensors": "5" * 64},
    )
    assert len(bundle.ladders) == 2 and [item.chip for item in bundle.settings] == ["M4", "M2"]
    assert [(item.shard_uid, item.setting, item.ladder) for item in bundle.runs] == [
        ("shard-0", 0, 0),
        ("shard-1", 0, 0),
        ("shard-2", 1, None),
        ("shard-3", 0, 1),
    ]


def test_a_job_in_which_nothing_ran_has_a_bundle_too() -> None:
    files = repro_files(SPEC, FINALIZE_SPEC, PLAN, [], JobMetricsSum().metrics(), [])
    bundle = ReproBundle.model_validate_json(files["repro/bundle.json"])
    assert (bundle.runs, bundle.model, bundle.model_files, bundle.model_digest) == ((), None, {}, DIGEST)
