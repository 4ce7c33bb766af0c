"""What the summary of a run tells."""

from __future__ import annotations

from dataclasses import replace

from voxfleet_agent.finished_runs.row_statistics import row_statistics
from voxfleet_agent.standalone.run_verdict import RunEnding, RunVerdict
from voxfleet_agent.standalone.summary import NOT_SIGNED, RunSummary, summary_json, summary_text
from voxfleet_api.failures import FailureClass
from voxfleet_api.rows import ClipStatus, ResultRow, RowError, Timings

HEARD = ResultRow(index=0, custom_id="a", status=ClipStatus.SUCCEEDED, text="yes", audio_milliseconds=2000)
LOST = ResultRow(
    index=1,
    custom_id="b",
    status=ClipStatus.FAILED,
    error=RowError(failure_class=FailureClass.INPUT_NOT_FOUND, reason="gone"),
)


def summary(*rows: ResultRow, ladder_milliseconds: int = 0) -> RunSummary:
    return RunSummary(
        job="nightly",
        namespace="default",
        uid="uid",
        verdict=RunVerdict(RunEnding.FAILED, "1 clip failed"),
        output="file:///out/nightly-1",
        index_sha256="a" * 64,
        selection=None,
        figures=row_statistics(rows),
        shards=1,
        shards_committed=1,
        lanes=1,
        wall_milliseconds=10_000,
        ladder_milliseconds=ladder_milliseconds,
        ran=True,
        inherited=0,
        ended_at=None,
        scratch_high_water_bytes=0,
        scratch_residue_bytes=0,
        state="/state",
        log="/state/log.jsonl",
    )


def test_the_time_that_measured_batch_sizes_is_told_apart() -> None:
    measured = summary(HEARD, ladder_milliseconds=4_200)
    assert "4.2 s of it measured batch sizes" in summary_text(measured)
    assert (summary_json(measured)["wallSeconds"], summary_json(measured)["ladderSeconds"]) == (10.0, 4.2)
    assert "batch sizes" not in summary_text(summary(HEARD))


def test_a_clips_own_time_is_told_apart_from_its_wait_behind_others() -> None:
    waited = Timings(fetch_milliseconds=10, decode_milliseconds=20, wait_milliseconds=9000, infer_milliseconds=300)
    shown = summary_text(summary(HEARD.model_copy(update={"timings": waited})))
    assert "own time   p50 330 ms" in shown and "waiting    p50 9000 ms" in shown and "latency    p50 9330 ms" in shown
    assert "behind other clips of this job" in shown


def test_failed_clips_come_with_the_way_to_try_them_again() -> None:
    shown = summary_text(summary(HEARD, LOST))
    assert "--retry-failed tries again what failed" in shown
    assert "errors.jsonl says why, plan/<attempt>/manifest.jsonl has their addresses" in shown
    assert not any(word in summary_text(summary(HEARD)) for word in ("--retry-failed", "errors.jsonl"))


def test_a_finished_run_with_failed_clips_offers_to_try_them_again_before_a_run_anew() -> None:
    shown = summary_text(replace(summary(HEARD, LOST), ran=False, ended_at="2026-11-20T11:00:00Z"))
    ran, again, anew = map(shown.index, ("nothing ran", "--retry-failed", "to run it anew"))
    assert ran < again < anew and shown.count("--retry-failed") == 1
    assert "--retry-failed" not in summary_text(replace(summary(HEARD), ran=False))


def test_a_refused_run_says_nothing_of_a_bill() -> None:
    refused = RunVerdict(RunEnding.REFUSED, "InvalidInput: no clips")
    assert NOT_SIGNED in summary_text(summary(HEARD))
    assert summary_text(replace(summary(), verdict=refused, figures=None)) == (
        "nightly: Refused: InvalidInput: no clips"
    )
