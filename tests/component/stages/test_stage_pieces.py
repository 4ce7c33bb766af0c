"""A part of a planned shard: it takes over what the shards above it delivered, and no clip runs twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.component.stages.stage_reading import StoppedError, interrupted, stop_after
from tests.component.stages.stage_rig import Job, commit_ref, planned, shard_uid
from tests.component.stages.stage_stubs import StubLane

from voxfleet_agent.stages.finalize.finalize_stage import run_finalize
from voxfleet_agent.stages.process import part_uploader
from voxfleet_agent.stages.process.process_stage import run_process
from voxfleet_api.attempt_spec import CommitRef, FinalizeSpec
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.results import Commit
from voxfleet_api.rows import ResultRow

WHOLE = shard_uid(0)


async def test_the_halves_of_a_shard_run_only_what_it_did_not_deliver(job: Job) -> None:
    job.add_clips(9)
    plan = planned(await job.plan())
    stopped = StubLane()
    await interrupted(job, plan, "before put part-000001", attempt=1, lane=stopped)
    await interrupted(job, plan, "before put part-000000", attempt=2, lane=StubLane())
    delivered = {row.index for path in job.attempt_files(1).glob("part-*") for row in _rows(path.read_bytes())}
    assert delivered, "the first attempt delivered something"
    refs, worked = [], []
    for name, clips in (("half-0", range(5)), ("half-1", range(5, 9))):
        lane = StubLane()
        spec = job.piece_spec(plan, name, clips, (WHOLE,), attempt=4)
        result = await run_process(job.context(spec, lane=lane))
        assert result.counts is not None and result.counts.succeeded == len(clips)
        commit = Commit.model_validate_json((job.folder / "parts" / name / "4" / "commit.json").read_bytes())
        assert commit.indexes == f"{clips.start}-{clips.stop - 1}"
        refs.append(CommitRef(shard_uid=name, attempt=4, sha256=result.commit_sha256))
        worked += lane.worked_on
    assert sorted(worked) == sorted(set(range(9)) - delivered)
    merged = FinalizeSpec(plan_attempt=1, manifest_sha256=plan.manifest_sha256, total=9, commits=tuple(refs))
    await run_finalize(job.context(job.spec(Stage.FINALIZE, "finalize", 1, finalize=merged)))
    rows = job.results()
    assert [row.index for row in rows] == list(range(9))
    assert [row.text for row in rows] == job.expected_texts()
    assert {row.attempt for row in rows} == {1, 4}


async def test_a_part_of_a_part_takes_over_from_the_nearest_that_froze_a_base(job: Job) -> None:
    job.add_clips(6)
    plan = planned(await job.plan())
    await interrupted(job, plan, "before put part-000001", attempt=1)
    half = job.piece_spec(plan, "half-0", range(4), (WHOLE,), attempt=3)
    await run_process(job.context(half, lane=StubLane()))
    lane = StubLane()
    quarter = job.piece_spec(plan, "quarter-00", range(2), ("half-0", WHOLE), attempt=5)
    await run_process(job.context(quarter, lane=lane))
    assert lane.worked_on == []
    commit = Commit.model_validate_json((job.folder / "parts/quarter-00/5/commit.json").read_bytes())
    assert commit.indexes == "0-1"
    runs = {ref.path for ref in commit.runs}
    assert runs <= {"parts/half-0/3/run.json", f"parts/{WHOLE}/1/run.json"}


async def test_wherever_an_attempt_of_a_half_ends_the_next_one_runs_nothing_again(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the rows of a part that lies across the cut: nobody looks at the shard above once a half has a base."""
    job.add_clips(9)
    plan = planned(await job.plan())
    with monkeypatch.context() as patched:
        patched.setattr(part_uploader, "PART_ROWS", 4)
        await interrupted(job, plan, "before put part-000001", attempt=1)
    (part,) = job.attempt_files(1).glob("part-*")
    delivered = sorted(row.index for row in _rows(part.read_bytes()))
    clips = range(delivered[1], 9)
    assert set(clips) - set(delivered), "some clip is left"
    edge, completed, original = 0, False, job.edges
    while not completed:
        edge, name = edge + 1, f"half-{edge}"
        job.edges = stop_after(edge)
        try:
            await run_process(job.context(job.piece_spec(plan, name, clips, (WHOLE,), attempt=3), lane=StubLane()))
            completed = True
        except (StoppedError, BaseExceptionGroup):
            pass
        own = {row.index for path in _parts_of(job, name, 3) for row in _rows(path.read_bytes())}
        job.edges, lane = original, StubLane()
        result = await run_process(job.context(job.piece_spec(plan, name, clips, (WHOLE,), attempt=4), lane=lane))
        assert result.counts is not None and result.counts.succeeded == len(clips)
        assert set(delivered).isdisjoint(lane.worked_on), job.edges.passed
        if (job.folder / f"parts/{name}/3/base.json").exists():
            assert own.isdisjoint(lane.worked_on)
    assert edge > 10


async def test_a_row_that_failed_for_a_reason_outside_its_clip_is_taken_over_too(job: Job) -> None:
    """As by the next attempt of the same shard: no clip runs twice."""
    job.add_clips(4)
    plan = planned(await job.plan())
    (job.clips / "001.wav").unlink()
    first = await job.process(plan)
    assert first.counts is not None and first.counts.failed == 1
    lane = StubLane()
    spec = job.piece_spec(plan, "half-0", range(2), (WHOLE,), attempt=3)
    result = await run_process(job.context(spec, lane=lane))
    assert lane.worked_on == [] and result.counts is not None
    assert (result.counts.succeeded, result.counts.failed) == (1, 1)


@pytest.mark.parametrize("clips", ["0-9", "3-5,7", "8-9", ""])
async def test_clips_that_are_no_part_of_the_planned_shard_are_refused(job: Job, clips: str) -> None:
    job.add_clips(6)
    plan = planned(await job.plan())
    spec = job.piece_spec(plan, "half-0", range(6), (WHOLE,), attempt=3)
    assert spec.process is not None
    wrong = spec.model_copy(update={"process": spec.process.model_copy(update={"indexes": clips})})
    with pytest.raises(VoxFleetError) as refused:
        await run_process(job.context(wrong, lane=StubLane()))
    assert refused.value.failure_class is FailureClass.PLAN_MISMATCH


async def test_a_whole_shard_must_still_name_all_its_clips(job: Job) -> None:
    job.add_clips(6)
    plan = planned(await job.plan())
    spec = job.piece_spec(plan, WHOLE, range(3), (), attempt=1)
    with pytest.raises(VoxFleetError) as refused:
        await run_process(job.context(spec, lane=StubLane()))
    assert refused.value.failure_class is FailureClass.PLAN_MISMATCH
    assert commit_ref(await job.process(plan)).shard_uid == WHOLE


@pytest.mark.parametrize(("halvings", "expected"), [(0, 2), (1, 1), (9, 1)])
async def test_the_batch_size_is_halved_as_often_as_the_operator_says(job: Job, halvings: int, expected: int) -> None:
    job.add_clips(6)
    plan = planned(await job.plan())
    lane = StubLane(batch_size=2)
    context = job.context(job.process_spec(plan), lane=lane)
    object.__setattr__(context, "batch_halvings", halvings)
    await run_process(context)
    rows = [row for path in job.attempt_files(1).glob("part-*") for row in _rows(path.read_bytes())]
    assert max(row.batch_size or 0 for row in rows) == expected


def _parts_of(job: Job, shard: str, attempt: int) -> list[Path]:
    return sorted((job.folder / "parts" / shard / str(attempt)).glob("part-*"))


def _rows(content: bytes) -> list[ResultRow]:
    return [ResultRow.model_validate_json(line) for line in content.splitlines()]
