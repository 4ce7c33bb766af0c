"""DESIGN section 4: Finalize is a pure function of the commits named in its order."""

from __future__ import annotations

import json

import pytest
from tests.component.stages.stage_rig import Job, StubLane, commit_ref, planned

from voxfleet_agent.stages.finalize import run_finalize
from voxfleet_api.digest import sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.protocol import CommitRef
from voxfleet_api.results import ClipStatus, Index, PlanResult

FILES = ("results.jsonl", "errors.jsonl", "index.json")


async def processed(job: Job, clips: int = 6) -> tuple[PlanResult, list[CommitRef]]:
    """Three shards of two clips; clip 1 is quarantined."""
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
    index = Index.model_validate_json((job.folder / "index.json").read_bytes())
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


async def test_index_json_is_written_last(job: Job) -> None:
    plan, commits = await processed(job)
    job.edges.passed.clear()
    await job.finalize(plan, commits)
    assert [name for name in job.edges.passed if name.startswith("after put")] == [
        f"after put {name}" for name in FILES
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
