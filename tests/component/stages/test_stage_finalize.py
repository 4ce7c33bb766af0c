"""DESIGN section 4: Finalize is a pure function of the commits that its spec names."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.component.stages.finalize_load import make
from tests.component.stages.stage_rig import CONTRACT, Job, commit_ref, planned
from tests.component.stages.stage_stubs import StubLane

from voxfleet_agent.stages.finalize.finalize_stage import run_finalize
from voxfleet_agent.stages.finalize.job_metrics import JobMetrics
from voxfleet_agent.stages.finalize.repro import ReproBundle
from voxfleet_agent.storage import Storage
from voxfleet_agent.storage.staging_names import hold, staging_name
from voxfleet_api.attempt_spec import CommitRef
from voxfleet_api.digest import canonical_json, sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import ContractOutput, OutputFormat, Timestamps
from voxfleet_api.machine_time import MachineTime, MacTime
from voxfleet_api.results import Commit, Counts, FileRef, PlanResult, ResultIndex, SpentBudget
from voxfleet_api.rows import ClipStatus, TimedText
from voxfleet_report.job_page import job_page
from voxfleet_report.job_report import JobReport

REPRO = ("repro/metrics.json", "repro/batch-table.csv", "repro/bundle.json")
SPENT = SpentBudget(retries_in_an_hour=4, quarantined_audio_milliseconds=1000)
FILES = ("results.jsonl", "errors.jsonl", *REPRO, "report.json", "report.html", "index.json")


async def processed(job: Job, clips: int = 6) -> tuple[PlanResult, list[CommitRef]]:
    """Runs Plan and Process: shards of two clips each, three by default. Clip 1 is quarantined."""
    job.add_clips(clips)
    plan = planned(await job.plan(shard_audio_milliseconds=400))
    commits = []
    for ordinal in range(len(plan.boundaries) - 1):
        lane = StubLane()
        lane.failures[1] = (FailureClass.DECODE_ERROR, "ends early")
        commits.append(commit_ref(await job.process(plan, ordinal=ordinal, lane=lane), ordinal=ordinal))
    return plan, commits


async def test_rows_are_sorted_by_index_and_counted(job: Job) -> None:
    plan, commits = await processed(job)
    result = await job.finalize(plan, list(reversed(commits)))
    index = ResultIndex.model_validate_json((job.folder / "index.json").read_bytes())
    assert result.commit_sha256 == sha256_hex((job.folder / "index.json").read_bytes())
    assert (index.total, index.counts, index.manifest_sha256) == (6, result.counts, plan.manifest_sha256)
    assert (index.counts.succeeded, index.counts.quarantined) == (5, 1)
    lines = (job.folder / "results.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["index"] for line in lines] == [0, 2, 3, 4, 5]
    assert [row.status for row in job.results()][1] is ClipStatus.QUARANTINED
    assert [(clip.index, clip.id) for clip in result.quarantine] == [(1, "001.wav")]


async def test_the_same_commits_give_the_same_bytes_on_any_mac_in_any_attempt(job: Job) -> None:
    plan, commits = await processed(job)
    first = await job.finalize(plan, commits)
    before = [(job.folder / name).read_bytes() for name in FILES]
    for name in FILES:
        (job.folder / name).unlink()
    job.chip = "M2"
    again = await job.finalize(plan, list(reversed(commits)), attempt=7)
    assert [(job.folder / name).read_bytes() for name in FILES] == before
    assert again == first


async def test_what_killed_writers_left_in_the_output_goes(job: Job) -> None:
    plan, commits = await processed(job)
    left, alive = (next(job.folder.glob("parts/*/1")) / staging_name() for _ in range(2))
    left.write_bytes(b"half a part")
    with alive.open("wb") as writing:
        hold(writing.fileno())
        await job.finalize(plan, commits)
    assert not left.exists() and alive.exists()


async def test_a_sweep_that_fails_does_not_fail_the_job(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, commits = await processed(job)

    async def denied(*_: object) -> int:
        raise VoxFleetError(FailureClass.ACCESS_DENIED, "may not be read")

    monkeypatch.setattr(Storage, "remove_unfinished", denied)
    counts = (await job.finalize(plan, commits)).counts
    assert counts is not None and counts.succeeded == 5


def test_more_rows_take_hardly_more_memory_of_the_supervisor(tmp_path: Path) -> None:
    """Each row has about 1.1 kB. The Mac's memory is for models, not for results."""
    rows = (4_000, 16_000)
    folders = [tmp_path / str(count) for count in rows]
    for folder, count in zip(folders, rows, strict=True):
        make(folder, count, 1)
    # Python's table of interned names grows by megabytes at once, in one run of many; so many rows outweigh it.
    load = [sys.executable, "-m", "tests.component.stages.finalize_load", "run", *map(str, folders * 2)]
    ran = subprocess.run(load, check=True, capture_output=True, timeout=300)
    peaks = [json.loads(line)["peakBytes"] for line in ran.stdout.splitlines()]
    few, many = min(peaks[0::2]), min(peaks[1::2])
    # Offsets and latencies take 220 bytes a row, texts alone 500 more.
    assert (many - few) / (rows[1] - rows[0]) < 400, "rows stay in memory"
    job = Job(folders[1])
    index = ResultIndex.model_validate_json((job.folder / "index.json").read_bytes())
    assert (index.counts.succeeded, index.counts.quarantined) == (15_680, 320)
    assert (job.folder / "results.jsonl").stat().st_size > 1_000 * 15_680
    assert [path for path in tmp_path.glob("*/scratch-*/**/*") if path.is_file() and path.stat().st_size] == []


async def test_rows_pass_through_reserved_scratch_and_leave_none(job: Job) -> None:
    plan, commits = await processed(job)
    scratch = job.open_scratch()
    reserved: list[int] = []
    job.edges.watch = lambda name: reserved.append(scratch.reserved_bytes) if name == "after put errors.jsonl" else None
    await run_finalize(job.context(job.finalize_spec(plan, commits[:2]), scratch=scratch))
    written = sum((job.folder / name).stat().st_size for name in ("results.jsonl", "errors.jsonl"))
    assert reserved[0] >= written
    assert scratch.reserved_bytes == 0
    assert [path for path in scratch.attempts_path.rglob("*") if path.is_file()] == []


async def test_a_finalize_that_finds_older_result_files_writes_its_own(job: Job) -> None:
    plan, commits = await processed(job)
    (job.folder / "results.jsonl").write_bytes(b"of an agent of another version\n")
    await job.finalize(plan, commits)
    assert len(job.results()) == 6, "and the digests in the index are theirs"


async def test_the_report_tells_what_the_rows_and_the_operator_say(job: Job) -> None:
    """It is made of rows and of the machine time it is told, so that every attempt writes the same bytes."""
    plan, commits = await processed(job)
    mac = MacTime(mac="mac-a", productive_milliseconds=5000, retry_milliseconds=700, overhead_milliseconds=34, rows=3)
    told = MachineTime(macs=(mac,), audio_milliseconds=9, open_attempts=1, unverified_attempts=0, spent_budget=SPENT)
    for attempt in (1, 2):
        context = job.context(job.finalize_spec(plan, commits, attempt))
        result = await run_finalize(replace(context, machine_time=told))
        report = JobReport.load_json((job.folder / "report.json").read_bytes())
        html = (job.folder / "report.html").read_text(encoding="utf-8")
        assert html == job_page(report)
    rows = job.results()
    assert report.machine_time == told
    assert report.clips == Counts(succeeded=5, quarantined=1)
    assert [(clip.index, clip.failure_class, clip.reason) for clip in report.quarantined] == [
        (1, "DecodeError", "ends early")
    ]
    assert report.measured.spent_budget == SPENT, "which the operator has from the Macs"
    assert result.measured == report.measured, "the operator is told what the report says"
    assert report.measured.retries == sum(row.retries or 0 for row in rows)
    assert report.measured.quarantined_audio_milliseconds == sum(
        row.audio_milliseconds for row in rows if row.status is ClipStatus.QUARANTINED
    )
    assert report.audio_milliseconds == sum(row.audio_milliseconds for row in rows)
    assert report.times["latency"].clips == 5 and report.rtf is not None
    metrics = json.loads((job.folder / "repro/metrics.json").read_bytes())["timings"]["succeeded"]
    for which in ("p50", "p95", "p99", "max"):
        assert getattr(report.times["latency"], which) == metrics["latency"][which]
    assert 'data-figure="usage.machineSeconds" data-value="5.734"' in html and "Not settled yet" in html
    for row in rows:
        assert row.text is None or row.text not in html, "speech is personal data"


async def test_a_run_without_a_fleet_says_that_nobody_meters_it(job: Job) -> None:
    plan, commits = await processed(job)
    await job.finalize(plan, commits)
    assert "not on a fleet" in (job.folder / "report.html").read_text(encoding="utf-8")


async def test_index_json_is_written_last(job: Job) -> None:
    plan, commits = await processed(job)
    job.edges.passed.clear()
    await job.finalize(plan, commits)
    assert [name for name in job.edges.passed if name.startswith("after put")] == [
        f"after put {Path(name).name}" for name in FILES
    ]


async def test_clips_without_a_commit_get_a_not_run_row(job: Job) -> None:
    plan, commits = await processed(job)
    result = await job.finalize(plan, commits[:1])
    assert result.counts is not None and result.counts.not_run == 4
    assert [row.status for row in job.results()[2:]] == [ClipStatus.NOT_RUN] * 4
    assert all(row.error is not None and row.error.reason for row in job.results()[2:])


async def test_a_job_of_which_nothing_ran_has_results_too(job: Job) -> None:
    plan, _ = await processed(job)
    await job.finalize(plan, [])
    assert [row.status for row in job.results()] == [ClipStatus.NOT_RUN] * 6


@pytest.mark.parametrize(
    ("not_run", "count", "words"),
    [
        ("", 2, "no row for 4-5"),
        ("0-1", 3, "more than one row for 0-1"),
        ("6", 3, "a row but no clip for 6"),
    ],
)
async def test_finalize_refuses_unless_every_index_has_exactly_one_row(
    job: Job, not_run: str, count: int, words: str
) -> None:
    plan, commits = await processed(job)
    spec = job.finalize_spec(plan, commits[:count])
    assert spec.finalize is not None
    order = spec.finalize.model_copy(update={"not_run": not_run})
    with pytest.raises(VoxFleetError, match=words) as caught:
        await run_finalize(job.context(spec.model_copy(update={"finalize": order})))
    assert caught.value.failure_class is FailureClass.PLAN_MISMATCH
    assert not (job.folder / "index.json").exists()


async def test_a_commit_named_twice_is_refused(job: Job) -> None:
    plan, commits = await processed(job)
    with pytest.raises(VoxFleetError, match="more than one row for 0-1"):
        await job.finalize(plan, [*commits, commits[0]])


async def test_finalize_refuses_another_total_than_the_manifest_s(job: Job) -> None:
    plan, commits = await processed(job)
    spec = job.finalize_spec(plan, commits)
    assert spec.finalize is not None
    order = spec.finalize.model_copy(update={"total": 5})
    with pytest.raises(VoxFleetError, match="6 clips, the job's status 5"):
        await run_finalize(job.context(spec.model_copy(update={"finalize": order})))


@pytest.mark.parametrize("file", ["manifest.jsonl", "commit.json", "part-"])
async def test_one_changed_byte_is_found(job: Job, file: str) -> None:
    plan, commits = await processed(job)
    path = next(path for path in sorted(job.folder.rglob("*")) if path.name.startswith(file))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises((VoxFleetError, BaseExceptionGroup)) as caught:
        await job.finalize(plan, commits)
    error = caught.value.exceptions[0] if isinstance(caught.value, BaseExceptionGroup) else caught.value
    assert isinstance(error, VoxFleetError)
    assert error.failure_class is FailureClass.PLAN_MISMATCH
    assert path.name in error.message and "sha256" in error.message
    assert not (job.folder / "index.json").exists()


async def test_each_requested_format_is_a_file_per_clip_and_hashed_in_the_index(job: Job) -> None:
    job.contract = CONTRACT.model_copy(
        update={"output": ContractOutput(formats=tuple(OutputFormat), timestamps=Timestamps.SEGMENT)}
    )
    job.formats = (OutputFormat.JSONL, OutputFormat.SRT, OutputFormat.TXT)
    job.add_clips(5)
    plan = planned(await job.plan())
    lane = StubLane()
    lane.segments = (TimedText(start_milliseconds=0, end_milliseconds=150, text="one & two"),)
    lane.failures[1] = (FailureClass.DECODE_ERROR, "ends early")
    commits = [commit_ref(await job.process(plan, lane=lane))]
    await job.finalize(plan, commits)
    written = sorted(path.name for path in (job.folder / "transcripts").iterdir())
    assert written == sorted(
        ["files.jsonl", *(f"{index:06d}.{form}" for index in (0, 2, 3, 4) for form in ("srt", "txt"))]
    )
    assert (job.folder / "transcripts" / "000002.srt").read_text().startswith("1\n00:00:00,000 --> 00:00:00,200\n")
    assert (job.folder / "transcripts" / "000002.txt").read_text() == job.expected_texts()[2] + "\n"
    lines = (job.folder / "transcripts" / "files.jsonl").read_bytes().splitlines()
    refs = [FileRef.model_validate_json(line) for line in lines]
    assert [Path(ref.path).name for ref in refs] == [name for name in written if name != "files.jsonl"]
    for ref in refs:
        content = (job.folder / ref.path).read_bytes()
        assert (ref.sha256, ref.size_bytes) == (sha256_hex(content), len(content))
    index = ResultIndex.model_validate_json((job.folder / "index.json").read_bytes())
    assert "transcripts/files.jsonl" in [file.path for file in index.files]
    assert len(job.results()) == 5, "and its digests are right"


async def test_the_bundle_names_the_runs_behind_the_commits(job: Job) -> None:
    plan, commits = await processed(job)
    await job.finalize(plan, commits)
    bundle = ReproBundle.model_validate_json((job.folder / "repro" / "bundle.json").read_bytes())
    assert [(run.shard_uid, run.attempt) for run in bundle.runs] == [(f"shard-{ordinal}", 1) for ordinal in range(3)]
    # In this rig, each attempt has its own scratch folder.
    assert {setting.scratch_path for setting in bundle.settings} == {
        str(path / "attempts") for path in job.root.glob("scratch-[123]")
    }
    assert {setting.chip for setting in bundle.settings} == {"M4"}
    assert bundle.model_files == {"model.safetensors": "5" * 64}
    assert (bundle.manifest_sha256, bundle.contract, bundle.total) == (plan.manifest_sha256, job.contract, 6)
    for ref in bundle.files:
        assert ref.sha256 == sha256_hex((job.folder / ref.path).read_bytes())
    metrics = JobMetrics.model_validate_json((job.folder / "repro" / "metrics.json").read_bytes())
    assert metrics.clips == {"succeeded": 5, "failed": 0, "quarantined": 1, "not_run": 0}
    assert metrics.timings["succeeded"].stages["infer"].max == 2


async def test_a_commit_that_names_other_clips_than_its_parts_hold_is_refused(job: Job) -> None:
    job.add_clips(4)
    plan = planned(await job.plan())
    await job.process(plan)
    path = job.attempt_files(1) / "commit.json"
    commit = Commit.model_validate_json(path.read_bytes())
    first, second, *rest = commit.parts
    swapped = [
        first.model_copy(update={"indexes": second.indexes}),
        second.model_copy(update={"indexes": first.indexes}),
    ]
    content = canonical_json(commit.model_copy(update={"parts": (*swapped, *rest)}).dump())
    path.write_bytes(content)
    with pytest.raises(BaseExceptionGroup) as caught:
        await job.finalize(plan, [CommitRef(shard_uid="shard-0", attempt=1, sha256=sha256_hex(content))])
    assert caught.group_contains(VoxFleetError, match="holds other clips than its commit names")


async def test_a_changed_run_record_is_detected(job: Job) -> None:
    plan, commits = await processed(job)
    path = job.attempt_files(1) / "run.json"
    path.write_bytes(path.read_bytes().replace(b"macOS 26", b"macOS 27"))
    with pytest.raises(VoxFleetError, match=r"run\.json has sha256") as caught:
        await job.finalize(plan, commits)
    assert caught.value.failure_class is FailureClass.PLAN_MISMATCH
