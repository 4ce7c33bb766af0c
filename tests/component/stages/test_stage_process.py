"""DESIGN section 4: what Process verifies, and "Results commit"."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.component.stages.stage_rig import (
    CLIP_MILLISECONDS,
    Edges,
    FixedModel,
    Job,
    MemoryJournal,
    StubLane,
    WatchedStorage,
    commit_ref,
    planned,
    text_of,
    touch_later,
    write_wav,
)

from voxfleet_agent.attempts.key import AttemptKey
from voxfleet_agent.journal.journal import Journal
from voxfleet_agent.journal.stage import AttemptJournal
from voxfleet_agent.stages import pipeline
from voxfleet_agent.stages.process import run_process
from voxfleet_agent.stages.stage import ClipTask
from voxfleet_agent.storage import ObjectVersion
from voxfleet_api.digest import sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.audio_batch_job import ClipInput, JobInput
from voxfleet_api.protocol import ShardResult
from voxfleet_api.ranges import decode
from voxfleet_api.results import Base, ClipStatus, Commit, PlanResult, ResultRow


class StoppedError(Exception):
    """Ends an attempt in a test."""


def stop_at(wanted: str) -> Edges:
    def watch(name: str) -> None:
        if name.startswith(wanted):
            raise StoppedError(name)

    return Edges(watch)


async def interrupted(
    job: Job, plan: PlanResult, wanted: str, *, attempt: int = 1, journal: MemoryJournal | None = None
) -> MemoryJournal:
    """Runs an attempt up to an edge; returns its journal."""
    healthy, job.edges = job.edges, stop_at(wanted)
    journal = journal or MemoryJournal(job.edges)
    journal.edges = job.edges
    try:
        await job.process(plan, attempt=attempt, journal=journal)
    except (StoppedError, BaseExceptionGroup) as error:
        assert isinstance(error, StoppedError) or error.split(StoppedError)[1] is None  # noqa: PT017 -- a group
    else:
        raise AssertionError(f"the attempt never came to {wanted!r}")
    finally:
        journal.edges = job.edges = healthy
    return journal


def rows_of(job: Job, attempt: int = 1) -> list[ResultRow]:
    commit = read_commit(job, attempt)
    lines = [line for part in commit.parts for line in (job.folder / part.path).read_bytes().splitlines()]
    return sorted((ResultRow.model_validate_json(line) for line in lines), key=lambda row: row.index)


def read_commit(job: Job, attempt: int = 1) -> Commit:
    return Commit.model_validate_json((job.attempt_files(attempt) / "commit.json").read_bytes())


def read_base(job: Job, attempt: int) -> Base:
    return Base.model_validate_json((job.attempt_files(attempt) / "base.json").read_bytes())


def part_names(job: Job, attempt: int = 1) -> list[str]:
    return sorted(path.name for path in job.attempt_files(attempt).glob("part-*"))


# Process verifies all three


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"manifest_sha256": "0" * 64}, "another manifest"),
        ({"model_digest": "sha256:" + "0" * 64}, "names the model"),
        ({"boundaries_digest": "sha256:" + "0" * 64}, "other shard boundaries"),
        ({"ordinal": 2}, "no shard 2"),
        ({"ordinal": 1}, "holds the clips 2-3, not 0-1"),
        ({"indexes": "0-2"}, "holds the clips 0-1, not 0-2"),
    ],
)
async def test_process_refuses_what_the_job_did_not_freeze(job: Job, changes: dict[str, object], words: str) -> None:
    job.add_clips(4)
    plan = planned(await job.plan(shard_audio_milliseconds=400))
    lane, spec = StubLane(), job.process_spec(plan)
    assert spec.process is not None
    spec = spec.model_copy(update={"process": spec.process.model_copy(update=changes)})
    with pytest.raises(VoxFleetError, match=words) as caught:
        await run_process(job.context(spec, lane=lane))
    assert caught.value.failure_class is FailureClass.PLAN_MISMATCH
    assert lane.transcribed == []


async def test_process_refuses_a_manifest_whose_bytes_changed(job: Job) -> None:
    job.add_clips(1)
    plan = planned(await job.plan())
    manifest = job.folder / "plan" / "1" / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes().replace(b"000.wav", b"999.wav"))
    with pytest.raises(VoxFleetError, match=r"manifest\.jsonl has sha256") as caught:
        await job.process(plan)
    assert caught.value.failure_class is FailureClass.PLAN_MISMATCH


async def test_process_refuses_another_contract(job: Job) -> None:
    job.add_clips(1)
    plan = planned(await job.plan())
    spec = job.process_spec(plan).model_copy(update={"contract_digest": "sha256:" + "0" * 64})
    with pytest.raises(VoxFleetError, match="names the contract") as caught:
        await run_process(job.context(spec, lane=StubLane()))
    assert caught.value.failure_class is FailureClass.PLAN_MISMATCH


async def test_process_refuses_another_model_than_the_plan_s(job: Job) -> None:
    job.add_clips(1)
    plan = planned(await job.plan())
    job.models = FixedModel("sha256:" + "6" * 64)
    with pytest.raises(VoxFleetError, match="install the same files") as caught:
        await job.process(plan)
    assert caught.value.failure_class is FailureClass.MODEL_MISMATCH


# Process reads the version that Plan saw


@pytest.mark.parametrize("change", ["time", "size", "bytes under the same size"])
async def test_an_object_that_changed_since_plan_is_input_changed(job: Job, change: str) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    clip = job.clips / "001.wav"
    if change == "size":
        clip.write_bytes(clip.read_bytes() + b"x")
    elif change != "time":
        write_wav(clip, 77)
    touch_later(clip)
    lane = StubLane()
    await job.process(plan, lane=lane)
    good, changed = rows_of(job)
    assert good.status is ClipStatus.SUCCEEDED
    assert changed.status is ClipStatus.QUARANTINED
    assert changed.error is not None and changed.error.failure_class is FailureClass.INPUT_CHANGED
    assert lane.transcribed == [0]


async def test_a_copy_with_the_same_time_and_bytes_is_the_same_version(job: Job) -> None:
    """Another inode, as another Mac may report it for one shared file."""
    job.add_clips(1)
    plan = planned(await job.plan())
    shutil.copy2(job.clips / "000.wav", job.root / "copy.wav")
    (job.root / "copy.wav").replace(job.clips / "000.wav")
    await job.process(plan)
    assert [row.status for row in rows_of(job)] == [ClipStatus.SUCCEEDED]


# A Mac that cannot see the folders


async def test_a_mac_without_the_output_folder_is_told_to_share_it(job: Job) -> None:
    job.add_clips(1)
    plan = planned(await job.plan())
    (job.folder / "plan" / "1" / "nonce").unlink()
    with pytest.raises(VoxFleetError, match="s3://") as caught:
        await job.process(plan)
    assert caught.value.failure_class is FailureClass.OUTPUT_NOT_SHARED


async def test_a_mac_without_the_input_folder_is_told_to_share_it(job: Job) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    shutil.rmtree(job.clips)
    with pytest.raises(VoxFleetError, match="s3://") as caught:
        await job.process(plan)
    assert caught.value.failure_class is FailureClass.INPUT_NOT_SHARED


async def test_a_clip_that_was_deleted_since_plan_fails_alone(job: Job) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    (job.clips / "000.wav").unlink()
    await job.process(plan)
    gone, good = rows_of(job)
    assert gone.status is ClipStatus.FAILED
    assert gone.error is not None and gone.error.failure_class is FailureClass.INPUT_NOT_FOUND
    assert good.status is ClipStatus.SUCCEEDED


# Rows


async def test_rows_carry_what_the_design_lists(job: Job) -> None:
    job.add_clips(1)
    plan = planned(await job.plan())
    result = await job.process(plan, attempt=3)
    (row,) = rows_of(job, 3)
    content = (job.clips / "000.wav").read_bytes()
    assert (row.custom_id, row.index, row.status, row.text) == ("000.wav", 0, ClipStatus.SUCCEEDED, text_of(content))
    assert (row.sha256, row.etag, row.batch_size, row.attempt) == (sha256_hex(content), job.manifest()[0].etag, 1, 3)
    assert (row.chip, row.versions, row.audio_milliseconds) == ("M4", {"mlx": "0.32.4"}, CLIP_MILLISECONDS)
    assert row.timings is not None and (row.timings.decode_milliseconds, row.timings.infer_milliseconds) == (1, 2)
    assert row.attestation is not None and row.attestation.decoder == "stub 1"
    assert job.metered_milliseconds == [CLIP_MILLISECONDS]
    assert job.progress[-1] == (1, 1)
    assert result.counts is not None and result.counts.succeeded == 1


async def test_a_wrong_checksum_is_quarantined_and_costs_no_sibling_anything(job: Job) -> None:
    job.add_clips(2)
    uri = job.clips.as_uri()
    clips = (ClipInput(id="a", uri=f"{uri}/000.wav", sha256="0" * 64), ClipInput(id="b", uri=f"{uri}/001.wav"))
    plan = planned(await job.plan(job_input=JobInput(clips=clips)))
    lane = StubLane()
    result = await job.process(plan, lane=lane)
    wrong, good = rows_of(job)
    assert wrong.error is not None and wrong.error.failure_class is FailureClass.CHECKSUM_MISMATCH
    actual = sha256_hex((job.clips / "000.wav").read_bytes())
    assert "000000000000…" in wrong.error.reason and actual[:12] in wrong.error.reason
    assert "wav" not in wrong.error.reason, "no file name reaches status"
    assert (wrong.sha256, good.status) == (actual, ClipStatus.SUCCEEDED)
    assert lane.transcribed == [1]
    assert [(clip.index, clip.id) for clip in result.quarantine] == [(0, "a")]


async def test_what_plan_refused_becomes_a_row_without_a_fetch(job: Job) -> None:
    write_wav(job.clips / "a.wav", 1, rate_hz=8000)
    plan = planned(await job.plan())
    lane = StubLane()
    result = await job.process(plan, lane=lane)
    (row,) = rows_of(job)
    assert row.status is ClipStatus.QUARANTINED
    assert row.error == job.manifest()[0].refusal
    assert (lane.loaded, lane.transcribed) == (0, [])
    assert not any("download" in name for name in job.edges.passed)
    assert result.quarantine[0].failure_class is FailureClass.CONTRACT_VIOLATION


@pytest.mark.parametrize(
    ("failure_class", "status"),
    [
        (FailureClass.DECODE_ERROR, ClipStatus.QUARANTINED),
        (FailureClass.LANE_CRASHED, ClipStatus.QUARANTINED),
        (FailureClass.GPU_ABORT_TIMEOUT, ClipStatus.FAILED),
    ],
)
async def test_a_verdict_s_class_decides_between_quarantined_and_failed(
    job: Job, failure_class: FailureClass, status: ClipStatus
) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    lane = StubLane()
    lane.failures[0] = (failure_class, "because " * 60)
    await job.process(plan, lane=lane)
    bad, good = rows_of(job)
    assert (bad.status, bad.text, good.status) == (status, None, ClipStatus.SUCCEEDED)
    assert bad.error is not None and len(bad.error.reason) == 256


# Parts


async def test_a_part_is_frozen_before_its_upload_and_named_by_its_sha256(job: Job) -> None:
    job.add_clips(5)
    plan = planned(await job.plan())
    journal = MemoryJournal(job.edges)
    await job.process(plan, journal=journal)
    names = part_names(job)
    assert len(names) >= 3
    for name in names:
        content = (job.attempt_files(1) / name).read_bytes()
        assert sha256_hex(content) in name
        assert content in [part.content for part in journal.frozen.values()]
    passed = job.edges.passed
    for name in names:
        part = name[: len("part-000000")]
        frozen, put, marked = (f"after freeze {part}", f"before put {name}", f"before mark {part}")
        assert passed.index(frozen) < passed.index(put) < passed.index(marked)
    assert all(part.uploaded for part in journal.frozen.values())


@pytest.mark.parametrize("edge", ["after freeze part-", "after put part-"])
async def test_a_repeated_upload_is_harmless(job: Job, edge: str) -> None:
    """Frozen but not uploaded, and uploaded but not marked: both are uploaded, under the same name."""
    job.add_clips(5)
    plan = planned(await job.plan())
    journal = await interrupted(job, plan, edge)
    waiting = [part for part in journal.frozen.values() if not part.uploaded]
    assert waiting
    result = await job.process(plan, journal=journal)
    assert all((job.folder / part.ref.path).read_bytes() == part.content for part in waiting)
    assert all(part.uploaded for part in journal.frozen.values())
    assert sorted(path.rpartition("/")[2] for path in (ref.path for ref in read_commit(job).parts)) == part_names(job)
    assert result.counts is not None and result.counts.succeeded == 5


async def test_a_row_is_durable_before_the_next_clip_is_done_and_never_repeated(job: Job) -> None:
    job.add_clips(4)
    plan = planned(await job.plan())
    journal = await interrupted(job, plan, "after record row")
    (done,) = journal.rows
    lane = StubLane(journal)
    await job.process(plan, journal=journal, lane=lane)
    assert sorted(lane.transcribed) == sorted({0, 1, 2, 3} - {done})


# Base


async def test_the_base_is_frozen_and_uploaded_before_the_first_clip(job: Job) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    await job.process(plan)
    passed = job.edges.passed
    assert (
        passed.index("after freeze base")
        < passed.index("before put base.json")
        < passed.index("after put base.json")
        < passed.index("before download 000.wav")
    )
    assert read_base(job, 1).parts == ()


async def test_an_attempt_inherits_the_latest_base_and_that_attempt_s_own_parts(job: Job) -> None:
    job.add_clips(7)
    plan = planned(await job.plan())
    await interrupted(job, plan, "after put part-000000")
    first = set(part_names(job, 1))
    assert len(first) == 1
    await interrupted(job, plan, "after put part-000000", attempt=2)
    second = set(part_names(job, 2))
    # Attempt 3 was assigned, but ended before it had a base: it has nothing to inherit from.
    await interrupted(job, plan, "after freeze base", attempt=3)
    lane = StubLane()
    result = await job.process(plan, attempt=4, lane=lane)
    assert {ref.path.rpartition("/")[2] for ref in read_base(job, 2).parts} == first
    assert [ref.path.rpartition("/")[2] for ref in read_base(job, 4).parts] == [*sorted(first), *sorted(second)]
    inherited = {index for ref in read_base(job, 4).parts for index in decode(ref.indexes)}
    assert sorted(lane.transcribed) == sorted(set(range(7)) - inherited)
    assert [row.index for row in rows_of(job, 4)] == list(range(7))
    assert {row.attempt for row in rows_of(job, 4)} == {1, 2, 4}
    assert result.counts is not None and result.counts.succeeded == 7


async def test_the_parts_are_listed_once_and_the_base_never_changes(job: Job) -> None:
    job.add_clips(5)
    plan = planned(await job.plan())
    late = await interrupted(job, plan, "after put part-000000")
    journal = await interrupted(job, plan, "before download", attempt=2)
    frozen = read_base(job, 2)
    # The lost Mac comes back and delivers more parts after the base was frozen: they are not inherited.
    await job.process(plan, attempt=1, journal=late)
    assert len(part_names(job, 1)) > len(frozen.parts)
    job.edges.passed.clear()
    lane = StubLane()
    await job.process(plan, attempt=2, journal=journal, lane=lane)
    assert read_base(job, 2) == frozen
    assert not any("list" in name for name in job.edges.passed)
    inherited = {index for ref in frozen.parts for index in decode(ref.indexes)}
    assert sorted(lane.transcribed) == sorted(set(range(5)) - inherited)
    assert [row.index for row in rows_of(job, 2)] == list(range(5))


@pytest.mark.parametrize("hidden", ["part-", "base.json"])
async def test_a_stale_listing_costs_work_and_never_truth(job: Job, hidden: str) -> None:
    job.add_clips(5)
    plan = planned(await job.plan())
    await interrupted(job, plan, "after put part-000001")

    class Stale(WatchedStorage):
        async def list_names(self, prefix: str, limit: int) -> list[str]:
            return [name for name in await super().list_names(prefix, limit) if hidden not in name]

    lane = StubLane()
    await job.process(plan, attempt=2, lane=lane, storage=Stale(job.allow, job.edges))
    assert sorted(lane.transcribed) == list(range(5))
    assert [row.index for row in rows_of(job, 2)] == list(range(5))


async def test_inherited_clips_are_matched_by_object_version(job: Job) -> None:
    job.add_clips(4)
    plan = planned(await job.plan())
    await interrupted(job, plan, "after put part-000001")
    old, kept = [job.attempt_files(1) / name for name in part_names(job, 1)]
    etag = job.manifest()[0].etag
    assert etag is not None
    content = old.read_bytes().replace(b'"etag":"', b'"etag":"0')
    old.unlink()
    (job.attempt_files(1) / f"part-000000-{sha256_hex(content)}.jsonl").write_bytes(content)
    await job.process(plan, attempt=2)
    assert [ref.path.rpartition("/")[2] for ref in read_base(job, 2).parts] == [kept.name]
    assert all(row.etag == clip.etag for row, clip in zip(rows_of(job, 2), job.manifest(), strict=True))


async def test_a_damaged_part_is_worked_on_again(job: Job) -> None:
    job.add_clips(4)
    plan = planned(await job.plan())
    await interrupted(job, plan, "after put part-000001")
    damaged, kept = [job.attempt_files(1) / name for name in part_names(job, 1)]
    damaged.write_bytes(damaged.read_bytes()[:-5])
    await job.process(plan, attempt=2)
    assert [ref.path.rpartition("/")[2] for ref in read_base(job, 2).parts] == [kept.name]
    assert [row.text for row in rows_of(job, 2)] == job.expected_texts()


async def test_an_attempt_whose_journal_was_lost_ends_and_the_next_one_inherits(job: Job) -> None:
    job.add_clips(4)
    plan = planned(await job.plan())
    await interrupted(job, plan, "after put part-000000")
    await interrupted(job, plan, "after put part-000000", attempt=2)
    shutil.rmtree(job.attempt_files(1))  # so that a new journal would freeze another base
    with pytest.raises(VoxFleetError, match="journal") as caught:
        await job.process(plan, attempt=2)
    assert caught.value.failure_class is FailureClass.MACHINE_LOST
    await job.process(plan, attempt=3)
    assert [row.index for row in rows_of(job, 3)] == list(range(4))


# Commit


async def test_commit_json_names_base_and_own_parts_with_sha256_ranges_and_counts(job: Job) -> None:
    job.add_clips(5)
    plan = planned(await job.plan())
    await interrupted(job, plan, "after put part-000000")
    result = await job.process(plan, attempt=2)
    content = (job.attempt_files(2) / "commit.json").read_bytes()
    commit = Commit.model_validate_json(content)
    assert result.commit_sha256 == sha256_hex(content)
    assert (commit.shard_uid, commit.attempt, commit.indexes) == ("shard-0", 2, "0-4")
    assert commit.parts[: len(read_base(job, 2).parts)] == read_base(job, 2).parts
    for ref in commit.parts:
        part = (job.folder / ref.path).read_bytes()
        assert sha256_hex(part) == ref.sha256
        assert [json.loads(line)["index"] for line in part.splitlines()] == decode(ref.indexes)
    assert commit.counts == result.counts
    assert commit.counts.succeeded == 5
    assert job.edges.passed[-1] == "after put commit.json"


async def test_a_second_run_of_a_finished_attempt_gives_the_same_commit(job: Job) -> None:
    job.add_clips(3)
    plan = planned(await job.plan())
    journal, lane = MemoryJournal(job.edges), StubLane()
    first = await job.process(plan, journal=journal)
    assert await job.process(plan, journal=journal, lane=lane) == first
    assert lane.transcribed == []


async def test_late_parts_of_a_superseded_attempt_change_nothing(job: Job) -> None:
    job.add_clips(4)
    plan = planned(await job.plan())
    late = await interrupted(job, plan, "after put part-000000")
    result = await job.process(plan, attempt=2)
    await job.finalize(plan, [commit_ref(result, attempt=2)])
    before = {name: (job.folder / name).read_bytes() for name in ("results.jsonl", "errors.jsonl", "index.json")}
    await job.process(plan, attempt=1, journal=late)
    assert (job.attempt_files(1) / "commit.json").exists()
    await job.finalize(plan, [commit_ref(result, attempt=2)], attempt=2)
    assert before == {name: (job.folder / name).read_bytes() for name in before}
    assert [row.index for row in job.results()] == list(range(4))


async def test_a_real_journal_carries_an_attempt_over_an_interruption(job: Job) -> None:
    """The same with SQLite, so that the journal in memory is no better than the real one."""
    job.add_clips(5)
    plan = planned(await job.plan())
    journal = await Journal.open(job.root / "state", job.root / "state" / "journal.sqlite3")
    try:
        lane = StubLane()

        async def stop(task: ClipTask) -> None:
            if len(lane.transcribed) == 3:
                raise StoppedError

        lane.before = stop
        attempt = AttemptJournal(journal, AttemptKey("shard-0", 1))
        with pytest.raises(BaseExceptionGroup):
            await job.process(plan, journal=attempt, lane=lane)
        recorded = await attempt.recorded_indexes()
        assert len(recorded) == 3
        lane = StubLane()
        result = await job.process(plan, journal=attempt, lane=lane)
        assert set(lane.transcribed) == set(range(5)) - recorded
        await job.finalize(plan, [commit_ref(result)])
        assert [row.text for row in job.results()] == job.expected_texts()
    finally:
        await journal.close()


# The pipeline


async def test_the_lane_works_while_a_slow_fetch_is_under_way(job: Job) -> None:
    job.add_clips(3)
    plan = planned(await job.plan())
    lane, others_done = StubLane(), asyncio.Event()

    async def note(task: ClipTask) -> None:
        if len(lane.transcribed) == 1:
            others_done.set()

    lane.before = note

    class SlowFirst(WatchedStorage):
        async def download(self, uri: str, target: Path, version: ObjectVersion) -> str:
            if uri.endswith("000.wav"):
                await others_done.wait()
            return await super().download(uri, target, version)

    await asyncio.wait_for(job.process(plan, lane=lane, storage=SlowFirst(job.allow, job.edges)), 30)
    assert lane.transcribed[-1] == 0


async def test_a_part_leaves_after_its_time_while_the_lane_is_busy(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "PART_ROWS", 64)
    monkeypatch.setattr(pipeline, "PART_SECONDS", 0.01)
    job.add_clips(2)
    plan = planned(await job.plan())
    lane, uploaded = StubLane(), asyncio.Event()

    def watch(name: str) -> None:
        if name.startswith("after mark part-"):
            uploaded.set()

    job.edges = Edges(watch)

    async def wait_for_part(task: ClipTask) -> None:
        if lane.transcribed:
            await uploaded.wait()

    lane.before = wait_for_part
    await asyncio.wait_for(job.process(plan, lane=lane), 30)
    assert len(part_names(job)) == 2


async def test_fetching_stays_a_few_clips_ahead_and_scratch_is_empty_at_the_end(job: Job) -> None:
    job.add_clips(12)
    plan = planned(await job.plan())
    lane, seen = StubLane(), []

    async def count(task: ClipTask) -> None:
        await asyncio.gather(*(asyncio.sleep(0) for _ in range(50)))
        seen.append(len(job.scratch_files()))

    lane.before = count
    scratch = job.open_scratch()
    await job.process(plan, lane=lane, scratch=scratch)
    assert max(seen) <= 4
    assert (job.scratch_files(), scratch.reserved_bytes) == ([], 0)


async def test_a_cancelled_attempt_gives_its_scratch_back(job: Job) -> None:
    job.add_clips(6)
    plan = planned(await job.plan())
    lane, reached = StubLane(), asyncio.Event()

    async def hang(task: ClipTask) -> None:
        reached.set()
        await asyncio.Event().wait()

    lane.before = hang
    scratch, journal = job.open_scratch(), MemoryJournal(job.edges)
    running = asyncio.create_task(job.process(plan, lane=lane, scratch=scratch, journal=journal))
    await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (job.scratch_files(), scratch.reserved_bytes) == ([], 0)
    result = await job.process(plan, scratch=scratch, journal=journal)
    assert result.counts is not None and result.counts.succeeded == 6


class Failing(WatchedStorage):
    """Downloads fail with one class, as often as told."""

    def __init__(self, job: Job, failure_class: FailureClass, times: int, *, outage: bool = False) -> None:
        super().__init__(job.allow, job.edges)
        self.failure_class = failure_class
        self.times = times
        self.outage = outage
        self.calls = 0

    async def download(self, uri: str, target: Path, version: ObjectVersion) -> str:
        if uri.endswith("000.wav"):
            self.calls += 1
            if self.calls <= self.times:
                raise VoxFleetError(self.failure_class, "told to fail")
        return await super().download(uri, target, version)

    async def head(self, uri: str) -> ObjectVersion:
        if self.outage and uri.endswith("nonce"):
            raise VoxFleetError(self.failure_class, "told to fail")
        return await super().head(uri)


@pytest.mark.parametrize("failure_class", [FailureClass.TRANSPORT, FailureClass.THROTTLED])
async def test_transport_and_throttled_are_retried(job: Job, failure_class: FailureClass) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    storage = Failing(job, failure_class, times=3)
    await job.process(plan, storage=storage)
    assert storage.calls == 4
    assert [row.status for row in rows_of(job)] == [ClipStatus.SUCCEEDED] * 2


async def test_a_clip_that_nobody_can_fetch_fails_alone(job: Job) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    await job.process(plan, storage=Failing(job, FailureClass.TRANSPORT, times=99))
    assert [row.status for row in rows_of(job)] == [ClipStatus.FAILED, ClipStatus.SUCCEEDED]


async def test_other_classes_are_not_retried(job: Job) -> None:
    job.add_clips(1)
    plan = planned(await job.plan())
    storage = Failing(job, FailureClass.INPUT_CHANGED, times=99)
    await job.process(plan, storage=storage)
    assert storage.calls == 1


async def test_an_outage_ends_the_attempt_and_fails_no_clip(job: Job) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    journal = MemoryJournal(job.edges)
    with pytest.raises(BaseExceptionGroup) as caught:
        await job.process(plan, journal=journal, storage=Failing(job, FailureClass.TRANSPORT, times=99, outage=True))
    assert caught.group_contains(VoxFleetError, match="told to fail")
    assert all(row.status is ClipStatus.SUCCEEDED for row in journal.rows.values())


def counted(results: Sequence[ShardResult]) -> int:
    return sum(result.counts.succeeded for result in results if result.counts is not None)


async def test_shards_of_one_job_do_not_meet(job: Job) -> None:
    job.add_clips(6)
    plan = planned(await job.plan(shard_audio_milliseconds=400))
    assert plan.boundaries == (0, 2, 4, 6)
    results = await asyncio.gather(*(job.process(plan, ordinal=ordinal) for ordinal in range(3)))
    assert counted(results) == 6
    await job.finalize(plan, [commit_ref(result, ordinal=ordinal) for ordinal, result in enumerate(results)])
    assert [row.text for row in job.results()] == job.expected_texts()
    assert os.listdir(job.folder / "parts") and len(os.listdir(job.folder / "parts")) == 3  # noqa: PTH208
