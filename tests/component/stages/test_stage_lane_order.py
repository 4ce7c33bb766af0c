"""Which clips the lane gets in which order and in which batches, and the ladder that finds a batch's size."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.component.stages.stage_reading import read_run, rows_of
from tests.component.stages.stage_rig import CONTRACT, TIMEOUT_SECONDS, Job, planned, write_wav
from tests.component.stages.stage_stubs import (
    MEASURING_MILLISECONDS,
    Edges,
    MemoryJournal,
    StubLane,
    WatchedStorage,
    ladder_table,
)

from voxfleet_agent.lanes.lane_types import ClipTask, ClipVerdict, LaneSpec, LoadedModel
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.stages.process import pipeline
from voxfleet_agent.stages.process.pipeline import UNRECORDED_BATCHES, WINDOW
from voxfleet_agent.storage import ObjectVersion
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.contract_limits import Batching, Ladder, ScratchLimit
from voxfleet_api.rows import ClipStatus, ResultRow

# Batches


async def test_batches_are_whole_sorted_by_length_and_of_one_bucket(job: Job) -> None:
    lengths = [1900, 200, 1900, 210, 1910, 220, 1890, 230, 205]
    for number, milliseconds in enumerate(lengths):
        write_wav(job.clips / f"{number:03d}.wav", number, milliseconds)
    plan = planned(await job.plan())
    fetched = asyncio.Event()

    def watch(name: str) -> None:
        if sum(passed.startswith("after download") for passed in job.edges.passed) == len(lengths):
            fetched.set()

    class SlowToLoad(StubLane):
        async def load(self, model: ResolvedModel, lane_spec: LaneSpec) -> LoadedModel:
            await fetched.wait()
            return await super().load(model, lane_spec)

    job.edges = Edges(watch)
    lane = SlowToLoad(batch_size=4)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await job.process(plan, lane=lane)
    short, long, last = map(sorted, lane.batches)
    assert (len(short), len(long), len(last)) == (4, 4, 1)
    assert set(short) | set(last) == {1, 3, 5, 7, 8} and set(long) == {0, 2, 4, 6}
    assert [row.batch_size for row in rows_of(job)] == [1 if index in last else 4 for index in range(len(lengths))]


async def test_an_idle_lane_gets_what_is_ready(job: Job) -> None:
    """Of a batch of four, three clips arrive only after the lane has finished the first one."""
    job.add_clips(4)
    plan = planned(await job.plan())
    lane, first_done = StubLane(batch_size=4), asyncio.Event()

    class Slow(WatchedStorage):
        async def download(self, uri: str, target: Path, version: ObjectVersion) -> str:
            if not uri.endswith("002.wav"):
                await first_done.wait()
            return await super().download(uri, target, version)

    async def note(task: ClipTask) -> None:
        first_done.set()

    lane.before = note
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await job.process(plan, lane=lane, storage=Slow(job.allow, job.edges))
    assert lane.batches[0] == [2]
    assert sorted(lane.worked_on) == [0, 1, 2, 3]


async def test_a_busy_lane_gets_a_fuller_batch(job: Job) -> None:
    job.add_clips(5)
    plan = planned(await job.plan())
    lane, arrived = StubLane(batch_size=4), asyncio.Event()

    def watch(name: str) -> None:
        if sum(passed.startswith("after download") for passed in job.edges.passed) == 5:
            arrived.set()

    job.edges = Edges(watch)

    class FirstAtOnce(WatchedStorage):
        async def download(self, uri: str, target: Path, version: ObjectVersion) -> str:
            if not uri.endswith("000.wav"):
                await started.wait()
            return await super().download(uri, target, version)

    started = asyncio.Event()

    async def hold(task: ClipTask) -> None:
        started.set()
        await arrived.wait()

    lane.before = hold
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await job.process(plan, lane=lane, storage=FirstAtOnce(job.allow, job.edges))
    assert list(map(sorted, lane.batches)) == [[0], [1, 2, 3, 4]]


async def test_fetching_stays_in_its_window_and_scratch_is_empty_at_the_end(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "WINDOW", replace(pipeline.WINDOW, audio_milliseconds=1000, min_clips=2))
    job.add_clips(30)
    plan = planned(await job.plan())
    lane, seen, fetched = StubLane(batch_size=2), [], asyncio.Event()

    def watch(name: str) -> None:
        if sum(passed.startswith("after download") for passed in job.edges.passed) == 3:
            fetched.set()

    async def count(task: ClipTask) -> None:
        await fetched.wait()  # fetching goes on while the lane works on its first clip
        await asyncio.gather(*(asyncio.sleep(0) for _ in range(50)))
        seen.append(len(job.scratch_files()))

    job.edges = Edges(watch)
    lane.before = count
    scratch = job.open_scratch()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await job.process(plan, lane=lane, scratch=scratch)
    assert 2 < max(seen) <= 5, "a clip has 200 ms"
    assert (job.scratch_files(), scratch.reserved_bytes) == ([], 0)


class WaitingLane(StubLane):
    """Gives no verdict before `enough` happens."""

    enough: asyncio.Event

    async def work(self, batches: AsyncIterator[Sequence[ClipTask]]) -> AsyncGenerator[ClipVerdict, None]:
        await self.enough.wait()
        async for batch in batches:
            for task in batch:
                yield await self.verdict(task, len(batch))


@pytest.mark.parametrize("batch_size", [1, 2])
async def test_a_lane_finds_the_next_clips_fetched_whatever_its_batch_size(job: Job, batch_size: int) -> None:
    """A model that does not batch takes one clip at a time, and fetches take as long for it as for any other."""
    job.add_clips(WINDOW.min_clips)
    plan = planned(await job.plan())
    lane = WaitingLane(batch_size=batch_size)
    lane.enough = asyncio.Event()

    def watch(name: str) -> None:
        if sum(passed.startswith("after download") for passed in job.edges.passed) == WINDOW.min_clips:
            lane.enough.set()

    job.edges = Edges(watch)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await job.process(plan, lane=lane)
    assert len(rows_of(job)) == WINDOW.min_clips


async def test_a_lane_gets_no_more_than_a_crash_may_repeat(job: Job) -> None:
    job.add_clips(30)
    plan = planned(await job.plan())
    # Whole batches: an idle lane would get single clips too, and then the limit may lie one below an even number.
    lane = WaitingLane(batch_size=2)
    lane.enough, held, as_many, most = asyncio.Event(), asyncio.Event(), asyncio.Event(), 0

    def watch(name: str) -> None:
        if sum(passed.startswith("after download") for passed in job.edges.passed) == 30:
            lane.enough.set()

    job.edges = Edges(watch)

    class Held(MemoryJournal):
        async def record_rows(self, rows: Sequence[ResultRow]) -> None:
            await held.wait()
            await super().record_rows(rows)

    async def count(task: ClipTask) -> None:
        nonlocal most
        if not held.is_set():
            most = len(lane.worked_on) + 1
            if most == UNRECORDED_BATCHES * 2:
                as_many.set()

    async def release() -> None:
        await as_many.wait()
        for _ in range(100):  # a lane that could have more would take it now
            await asyncio.sleep(0)
        held.set()

    lane.before = count
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await asyncio.gather(job.process(plan, lane=lane, journal=Held(job.edges)), release())
    assert most == UNRECORDED_BATCHES * 2
    assert len(rows_of(job)) == 30


async def test_a_contract_s_scratch_limit_narrows_the_window(job: Job) -> None:
    size_bytes = 44 + 2 * 16000 * 200 // 1000
    job.contract = CONTRACT.model_copy(update={"scratch": ScratchLimit(max_bytes=str(2 * size_bytes))})
    job.add_clips(9)
    plan = planned(await job.plan())
    lane = StubLane(batch_size=4)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await job.process(plan, lane=lane)
    assert sorted(lane.worked_on) == list(range(9))
    assert max(map(len, lane.batches)) <= 2, "no more than two fit at one time"


async def test_a_clip_that_scratch_can_never_hold_is_refused_by_plan(job: Job) -> None:
    job.contract = CONTRACT.model_copy(update={"scratch": ScratchLimit(max_bytes="1Ki")})
    job.add_clips(1)
    await job.plan()
    refusal = job.manifest()[0].refusal
    assert refusal is not None and refusal.failure_class is FailureClass.CONTRACT_VIOLATION
    assert "scratch.maxBytes is 1Ki" in refusal.reason


async def test_work_begins_once_and_after_the_model_is_loaded(job: Job) -> None:
    job.add_clips(3)
    plan = planned(await job.plan())
    lane = StubLane()

    async def check(task: ClipTask) -> None:
        assert (len(lane.loaded), job.work_signals) == (1, 1)

    lane.before = check
    await job.process(plan, lane=lane)
    assert job.work_signals == 1


# The ladder


def with_ladder(job: Job, to: int = 3) -> None:
    job.contract = CONTRACT.model_copy(update={"batching": Batching(ladder=Ladder(to=to))})


async def test_the_ladder_measures_the_longest_clips_and_releases_them(job: Job) -> None:
    with_ladder(job)
    for number, milliseconds in enumerate([300, 900, 200, 800, 400]):
        write_wav(job.clips / f"{number:03d}.wav", number, milliseconds)
    plan = planned(await job.plan())
    lane, scratch = StubLane(batch_size=4), job.open_scratch()
    await job.process(plan, lane=lane, scratch=scratch)
    contents = [(index, (job.clips / f"{index:03d}.wav").read_bytes()) for index in (1, 3, 4)]
    assert job.ladders.measured == [contents]
    assert max(map(len, lane.batches)) == 2 and read_run(job).readings.batch_size == 2
    assert lane.batch_size == 4, "the next job starts from the lane's own size"
    assert read_run(job).ladder == ladder_table(2)
    assert read_run(job).ladder_milliseconds >= MEASURING_MILLISECONDS
    assert {read_run(job).dtype, *(row.dtype for row in rows_of(job))} == {"float32"}
    assert (job.scratch_files(), scratch.reserved_bytes) == ([], 0)
    assert [row.text for row in rows_of(job)] == job.expected_texts()


async def test_for_a_model_that_does_not_batch_no_clip_is_measured(job: Job) -> None:
    with_ladder(job)
    job.add_clips(2)
    plan = planned(await job.plan())
    lane = StubLane(batch_size=4)
    lane.batches_clips = False
    await job.process(plan, lane=lane)
    assert job.ladders.measured == [[]]
    assert job.edges.passed.count("after download 000.wav") == 1
    assert [row.text for row in rows_of(job)] == job.expected_texts()


async def test_a_stored_table_is_used_without_a_fetch(job: Job) -> None:
    with_ladder(job)
    job.ladders.stored_table = ladder_table(1)
    job.add_clips(2)
    plan = planned(await job.plan())
    lane = StubLane(batch_size=4)
    await job.process(plan, lane=lane)
    assert job.ladders.measured == [] and max(map(len, lane.batches)) == 1
    assert job.edges.passed.count("after download 000.wav") == 1


async def test_without_a_ladder_the_lane_keeps_its_own_batch_size(job: Job) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    lane = StubLane(batch_size=4)
    await job.process(plan, lane=lane)
    assert (job.ladders.measured, lane.batch_size, read_run(job).ladder) == ([], 4, None)


async def test_a_clip_that_cannot_be_fetched_is_not_measured(job: Job) -> None:
    with_ladder(job, to=2)
    job.add_clips(3)
    plan = planned(await job.plan())
    (job.clips / "000.wav").unlink()
    await job.process(plan)
    assert [[index for index, _ in clips] for clips in job.ladders.measured] == [[1]]
    assert [row.status for row in rows_of(job)] == [ClipStatus.FAILED, ClipStatus.SUCCEEDED, ClipStatus.SUCCEEDED]


async def test_the_ladder_uses_no_more_scratch_than_is_free(job: Job) -> None:
    size_bytes = 44 + 2 * 16000 * 200 // 1000
    job.contract = CONTRACT.model_copy(
        update={"batching": Batching(ladder=Ladder(to=8)), "scratch": ScratchLimit(max_bytes=str(2 * size_bytes))}
    )
    job.add_clips(5)
    plan = planned(await job.plan())
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await job.process(plan)
    assert [len(clips) for clips in job.ladders.measured] == [2]
