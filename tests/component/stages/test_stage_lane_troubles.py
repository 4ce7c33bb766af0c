"""How an attempt records a lane's failures. The lane and its process are real, its model is a stand-in."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.component.lanes.lane_rig import STAND_IN, tone
from tests.component.stages.stage_reading import read_run, rows_of
from tests.component.stages.stage_rig import CONTRACT, Job, planned
from tests.component.stages.stage_stubs import MODEL_DIGEST, FixedModel, MemoryJournal, StubLane, ladder_table
from tests.unit.agent.ladder.paper_lane import PaperLane, fetching, make_clips

from voxfleet_agent.ladder.ladder_book import MacLadderBook
from voxfleet_agent.lanes.lane import ProcessLane
from voxfleet_agent.lanes.lane_types import LaneSpec, StepDown
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.digest import digest_of
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_limits import Batching, FailureBudget, Ladder, Slo
from voxfleet_api.kinds.job_task import Task, Transcription

MakeLane = Callable[..., ProcessLane]
OUT_OF_MEMORY = "Execution failed: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"
TIMEOUT = "Execution failed: Caused GPU Timeout Error (00000002:kIOGPUCommandBufferCallbackErrorTimeout)"
LADDER = CONTRACT.model_copy(update={"batching": Batching(ladder=Ladder(to=8)), "slo": Slo(offline_tail_p95="600ms")})


@pytest.fixture
async def make_lane(tmp_path: Path) -> AsyncIterator[MakeLane]:
    """Makes lanes whose model treats clip n as `behaviours[n]` says."""
    lanes: list[ProcessLane] = []

    def make(behaviours: dict[str, str], batch_size: int = 1) -> ProcessLane:
        folder = tmp_path / f"lane-{len(lanes)}"
        command = (sys.executable, str(STAND_IN), json.dumps(behaviours))
        lanes.append(ProcessLane(folder.name, folder, worker=command, batch_size=batch_size))
        return lanes[-1]

    yield make
    for lane in lanes:
        await lane.kill()


def make_job(folder: Path, *numbers: int) -> Job:
    """A job of clips that are transcribed as these numbers."""
    job = Job(folder, models=FixedModel(path=folder))
    for number in numbers:
        tone(job.clips / f"{number}.wav", number)
    return job


@pytest.mark.parametrize(
    ("behaviour", "charged"),
    [
        ("once:{}:segv", {"LaneCrashed": 1}),
        ("once:{}:abort:std::bad_alloc", {"MemoryExceeded": 1}),
        (f"once:{{}}:abort:{OUT_OF_MEMORY}", {"GpuAbortOutOfMemory": 1}),
        ("short-once", {"TruncatedOutput": 1}),
        ("once:{}:kill", {}),  # killed from outside, so no clip is charged a retry
    ],
)
async def test_a_retry_is_charged_to_the_first_try_s_failure(
    make_lane: MakeLane, tmp_path: Path, behaviour: str, charged: dict[str, int]
) -> None:
    job = make_job(tmp_path, 3)  # a single clip, because a second one in flight would be a suspect too
    plan = planned(await job.plan())
    await job.process(plan, lane=make_lane({"3": behaviour.format(tmp_path / "marker")}))
    assert [(row.text, row.retries) for row in rows_of(job)] == [("clip 3", sum(charged.values()))]
    assert read_run(job).retries == charged


async def test_the_budget_names_the_first_try_s_failure(make_lane: MakeLane, tmp_path: Path) -> None:
    job = make_job(tmp_path, 3)
    job.contract = CONTRACT.model_copy(update={"failure_budget": FailureBudget(retries_per_hour=0)})
    plan = planned(await job.plan())
    journal = MemoryJournal(job.edges)
    with pytest.raises(BaseExceptionGroup) as caught:
        await job.process(plan, journal=journal, lane=make_lane({"3": f"once:{tmp_path / 'marker'}:segv"}))
    assert caught.group_contains(VoxFleetError, match="retries.*the last one for LaneCrashed")
    assert journal.rows[0].text == "clip 3"


async def test_a_clip_that_ends_two_children_is_charged_one_retry(make_lane: MakeLane, tmp_path: Path) -> None:
    job = make_job(tmp_path, 1, 2, 3)
    plan = planned(await job.plan())
    await job.process(plan, lane=make_lane({"2": "abort:std::bad_alloc"}))
    row = rows_of(job)[1]
    assert row.error is not None and (row.error.failure_class, row.retries) == (FailureClass.MEMORY_EXCEEDED, 1)
    assert read_run(job).retries == {"MemoryExceeded": 1}


async def measured_book(folder: Path) -> MacLadderBook:
    """A ladder book with a table that chooses 3 for the contract `LADDER`."""
    book = MacLadderBook(folder / "ladders", "paper", {}, 2**30, "float32")
    lane_spec = LaneSpec(Task.TRANSCRIBE, LADDER, Transcription())
    lane = PaperLane(fixed_milliseconds=300, each_milliseconds=100)
    table = await book.table(lane, ResolvedModel(folder, MODEL_DIGEST), lane_spec, fetching(make_clips(folder)))
    assert table is not None and table.chosen == 3
    return book


@pytest.mark.parametrize(
    ("behaviour", "batch_size", "reason"),
    [
        ("crowd:raise-memory", 1, "memory ran short inside the model"),
        (f"crowd:abort:{OUT_OF_MEMORY}", 1, "the GPU gave up the lane's work"),
        ("once:{}:kill", 3, None),  # other processes used the memory, so the table stays
        (f"crowd:abort:{TIMEOUT}", 3, None),  # the display caused the timeout, so the table stays
    ],
)
async def test_the_next_attempt_starts_with_the_batch_size_stepped_down_to(
    make_lane: MakeLane, tmp_path: Path, behaviour: str, batch_size: int, reason: str | None
) -> None:
    book = await measured_book(tmp_path)
    lane = make_lane({"2": behaviour.format(tmp_path / "marker")}, batch_size=4)
    sizes = []
    for number in (1, 2):
        job = make_job(tmp_path / f"job-{number}", 1, 2, 3)
        job.contract, job.book = LADDER, book
        plan = planned(await job.plan())
        await job.process(plan, lane=lane)
        assert [row.text for row in rows_of(job)] == ["clip 1", "clip 2", "clip 3"]
        sizes.append(read_run(job).environment["MLX_AUDIO_BATCH_SIZE"])
    assert sizes == ["3", str(batch_size)]
    table = book.stored(ResolvedModel(tmp_path, MODEL_DIGEST), digest_of(LADDER))
    assert table is not None and (table.chosen, table.stepped_down_for) == (batch_size, reason)
    assert lane.batch_size == 4  # the pool's batch size, for other contracts


async def test_one_clip_that_exceeds_memory_alone_leaves_the_table_unchanged(
    make_lane: MakeLane, tmp_path: Path
) -> None:
    book, job = await measured_book(tmp_path), make_job(tmp_path / "job", 1, 2, 3)
    job.contract, job.book = LADDER, book
    await job.process(planned(await job.plan()), lane=make_lane({"2": "abort:std::bad_alloc"}))
    assert [row.text for row in rows_of(job)] == ["clip 1", None, "clip 3"]
    table = book.stored(ResolvedModel(tmp_path, MODEL_DIGEST), digest_of(LADDER))
    assert table is not None and (table.chosen, table.stepped_down_for) == (3, None)


async def test_a_step_down_caused_by_others_is_not_saved(tmp_path: Path) -> None:
    job = make_job(tmp_path, 1)
    job.ladders.stored_table = ladder_table(2)
    lane = StubLane()
    lane.stepped_down = StepDown(4, "memory ran short")  # its own doing; others lowered the batch size further
    await job.process(planned(await job.plan()), lane=lane)
    assert job.ladders.stepped_down == [(4, "memory ran short")]


async def test_a_step_down_is_saved_when_it_ends_the_attempt(make_lane: MakeLane, tmp_path: Path) -> None:
    book, job = await measured_book(tmp_path), make_job(tmp_path / "job", 1, 2, 3)
    job.contract, job.book = LADDER, book
    plan = planned(await job.plan())
    lane = make_lane({str(number): f"abort:{OUT_OF_MEMORY}" for number in (1, 2, 3)})
    with pytest.raises(BaseExceptionGroup) as caught:
        await job.process(plan, lane=lane)
    assert caught.group_contains(VoxFleetError, match="no clip is at fault")
    table = book.stored(ResolvedModel(tmp_path, MODEL_DIGEST), digest_of(LADDER))
    assert table is not None and table.chosen == 1
