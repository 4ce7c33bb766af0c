"""DESIGN section 6, "Pipeline": fetches, batches, retries, outages."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest
from tests.component.stages.stage_reading import part_names, read_run, rows_of
from tests.component.stages.stage_rig import Job, commit_ref, planned
from tests.component.stages.stage_stubs import (
    Edges,
    MemoryJournal,
    StubLane,
    WatchedStorage,
    ladder_table,
)

from voxfleet_agent.lanes.lane_types import ClipTask
from voxfleet_agent.stages.process import part_uploader
from voxfleet_agent.storage import ObjectVersion
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.protocol import ShardResult
from voxfleet_api.rows import ClipStatus

# The pipeline


async def test_the_lane_works_while_a_slow_fetch_is_under_way(job: Job) -> None:
    job.add_clips(3)
    plan = planned(await job.plan())
    lane, others_done = StubLane(), asyncio.Event()

    async def note(task: ClipTask) -> None:
        if len(lane.worked_on) == 1:
            others_done.set()

    lane.before = note

    class SlowFirst(WatchedStorage):
        async def download(self, uri: str, target: Path, version: ObjectVersion) -> str:
            if uri.endswith("000.wav"):
                await others_done.wait()
            return await super().download(uri, target, version)

    await asyncio.wait_for(job.process(plan, lane=lane, storage=SlowFirst(job.allow, job.edges)), 30)
    assert lane.worked_on[-1] == 0


async def test_a_part_is_uploaded_in_time_while_the_lane_is_busy(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_uploader, "PART_ROWS", 64)
    monkeypatch.setattr(part_uploader, "PART_SECONDS", 0.01)
    job.add_clips(2)
    plan = planned(await job.plan())
    lane, uploaded = StubLane(), asyncio.Event()

    def watch(name: str) -> None:
        if name.startswith("after mark part-"):
            uploaded.set()

    job.edges = Edges(watch)

    async def wait_for_part(task: ClipTask) -> None:
        if lane.worked_on:
            await uploaded.wait()

    lane.before = wait_for_part
    await asyncio.wait_for(job.process(plan, lane=lane), 30)
    assert len(part_names(job)) == 2


async def test_a_cancelled_attempt_releases_its_scratch(job: Job) -> None:
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
    """Clip 000's download fails `times` times with one class; probes of other clips can fail too."""

    def __init__(
        self, job: Job, failure_class: FailureClass, times: int, *, outage: bool = False, failing_probes: int = 0
    ) -> None:
        """`outage`: after a failed download, all probes of clips fail; otherwise the first `failing_probes` of them."""
        super().__init__(job.allow, job.edges)
        self.failure_class = failure_class
        self.times = times
        self.outage = outage
        self.failing_probes = failing_probes
        self.calls = 0

    async def download(self, uri: str, target: Path, version: ObjectVersion) -> str:
        if uri.endswith("000.wav"):
            self.calls += 1
            if self.calls <= self.times:
                raise VoxFleetError(self.failure_class, "told to fail")
        return await super().download(uri, target, version)

    async def head(self, uri: str) -> ObjectVersion:
        if self.calls and uri.endswith(".wav") and (self.outage or self.failing_probes > 0):
            self.failing_probes -= 1
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


async def test_one_failed_probe_does_not_end_the_attempt(job: Job) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    storage = Failing(job, FailureClass.TRANSPORT, times=99, failing_probes=1)
    await job.process(plan, storage=storage)
    assert storage.failing_probes == 0
    assert [row.status for row in rows_of(job)] == [ClipStatus.FAILED, ClipStatus.SUCCEEDED]


@pytest.mark.parametrize("failure_class", [FailureClass.INVALID_INPUT, FailureClass.ACCESS_DENIED])
async def test_a_clip_with_an_invalid_answer_fails_alone(job: Job, failure_class: FailureClass) -> None:
    job.add_clips(3)
    plan = planned(await job.plan())
    await job.process(plan, storage=Failing(job, failure_class, times=99))
    assert [row.status for row in rows_of(job)] == [ClipStatus.FAILED, ClipStatus.SUCCEEDED, ClipStatus.SUCCEEDED]
    assert (error := rows_of(job)[0].error) is not None and error.failure_class is failure_class


async def test_other_classes_are_not_retried(job: Job) -> None:
    job.add_clips(1)
    plan = planned(await job.plan())
    storage = Failing(job, FailureClass.INPUT_CHANGED, times=99)
    await job.process(plan, storage=storage)
    assert storage.calls == 1


async def test_an_outage_of_the_input_ends_the_attempt_and_fails_no_clip(job: Job) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    journal = MemoryJournal(job.edges)
    with pytest.raises(BaseExceptionGroup) as caught:
        await job.process(plan, journal=journal, storage=Failing(job, FailureClass.TRANSPORT, times=99, outage=True))
    assert caught.group_contains(VoxFleetError, match="told to fail")
    assert all(row.status is ClipStatus.SUCCEEDED for row in journal.rows.values())


async def test_access_that_expires_for_all_clips_ends_the_attempt(job: Job) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    first_came, journal = asyncio.Event(), MemoryJournal(job.edges)

    class Expiring(WatchedStorage):
        async def download(self, uri: str, target: Path, version: ObjectVersion) -> str:
            if uri.endswith("000.wav"):
                sha256 = await super().download(uri, target, version)
                first_came.set()
                return sha256
            await first_came.wait()
            raise VoxFleetError(FailureClass.ACCESS_DENIED, "not any more")

        async def head(self, uri: str) -> ObjectVersion:
            if first_came.is_set() and uri.endswith(".wav"):
                raise VoxFleetError(FailureClass.ACCESS_DENIED, "not any more")
            return await super().head(uri)

    with pytest.raises(BaseExceptionGroup) as caught:
        await job.process(plan, journal=journal, storage=Expiring(job.allow, job.edges))
    assert caught.group_contains(VoxFleetError, match="not any more")
    assert 1 not in journal.rows


# The lane's batch size


async def test_the_worker_gets_the_batch_size_that_it_works_with(job: Job) -> None:
    job.add_clips(2)
    job.ladders.stored_table = ladder_table(2)
    plan = planned(await job.plan())
    await job.process(plan, lane=StubLane(batch_size=4))
    assert read_run(job).environment["MLX_AUDIO_BATCH_SIZE"] == "2"


@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.parametrize("aborts", [True, False])
async def test_a_stepped_down_batch_size_does_not_reach_the_next_job(job: Job, measured: bool, aborts: bool) -> None:
    job.add_clips(3)
    job.ladders.stored_table = ladder_table(2) if measured else None
    plan = planned(await job.plan())
    lane = StubLane(batch_size=4)

    async def shrink(task: ClipTask) -> None:
        lane.batch_size = 1
        if aborts:
            raise VoxFleetError(FailureClass.GPU_ABORT_TIMEOUT, "told to fail")

    lane.before = shrink
    with pytest.raises(BaseExceptionGroup) if aborts else nullcontext():
        await job.process(plan, lane=lane)
    assert lane.batch_size == 4


def counted(results: Sequence[ShardResult]) -> int:
    return sum(result.counts.succeeded for result in results if result.counts is not None)


async def test_shards_of_one_job_do_not_interfere(job: Job) -> None:
    job.add_clips(6)
    plan = planned(await job.plan(shard_audio_milliseconds=400))
    assert plan.boundaries == (0, 2, 4, 6)
    results = await asyncio.gather(*(job.process(plan, ordinal=ordinal) for ordinal in range(3)))
    assert counted(results) == 6
    await job.finalize(plan, [commit_ref(result, ordinal=ordinal) for ordinal, result in enumerate(results)])
    assert [row.text for row in job.results()] == job.expected_texts()
    assert os.listdir(job.folder / "parts") and len(os.listdir(job.folder / "parts")) == 3  # noqa: PTH208


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
async def test_scratch_that_cannot_be_written_ends_the_attempt_and_fails_no_clip(
    job: Job, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.add_clips(3)
    plan = planned(await job.plan())
    journal, scratch = MemoryJournal(job.edges), job.open_scratch()
    really_open = os.open

    def full(path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if "clip-1" in str(path) and flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(number, os.strerror(number))
        return really_open(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(BaseExceptionGroup) as caught:
        await job.process(plan, journal=journal, scratch=scratch)
    assert caught.group_contains(VoxFleetError, match="ScratchExhausted")
    assert all(row.status is ClipStatus.SUCCEEDED for row in journal.rows.values())
    monkeypatch.undo()
    assert (job.scratch_files(), scratch.reserved_bytes) == ([], 0)
    result = await job.process(plan, journal=journal, scratch=scratch)
    assert result.counts is not None and result.counts.succeeded == 3
