"""An attempt that is called back ends after the clips in flight, and the next one takes over all that it did."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from tests.component.stages.stage_rig import TIMEOUT_SECONDS, Job, commit_ref, planned
from tests.component.stages.stage_stubs import Edges, MemoryJournal, StubLadders, StubLane

from voxfleet_agent.lanes.lane_types import ClipTask, Lane, LaneSpec
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.stages.stage_context import EndlessPermit
from voxfleet_agent.storage import ObjectVersion, Storage
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_limits import Batching, Ladder
from voxfleet_api.ladder_table import LadderTable
from voxfleet_api.protocol import ShardResult
from voxfleet_api.results import PlanResult
from voxfleet_api.rows import ClipStatus

CLIPS = 30


class Permit:
    """Calls back when a test says so."""

    def __init__(self) -> None:
        self._called = asyncio.Event()
        self.checks = 0

    @property
    def called_back(self) -> bool:
        return self._called.is_set()

    async def wait_called_back(self) -> None:
        await self._called.wait()

    async def check(self) -> None:
        self.checks += 1

    def call_back(self) -> None:
        self._called.set()


async def returned(job: Job, plan: PlanResult, lane: StubLane, attempt: int = 1) -> str:
    """Runs an attempt that has to return; gives the reason."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        with pytest.raises(VoxFleetError) as caught:
            await job.process(plan, attempt=attempt, lane=lane, journal=lane.journal)
    assert caught.value.failure_class is FailureClass.MACHINE_RETURNED
    assert job.scratch_files() == []
    return caught.value.message


def calls_back_at(permit: Permit, clip_number: int) -> StubLane:
    """A lane that is in its n-th clip when the attempt is called back."""
    lane, seen = StubLane(MemoryJournal(Edges()), batch_size=2), []

    async def before(task: ClipTask) -> None:
        seen.append(task.index)
        if len(seen) == clip_number:
            permit.call_back()

    lane.before = before
    return lane


async def take_over(job: Job, plan: PlanResult, attempt: int = 2) -> tuple[ShardResult, StubLane]:
    job.permit = EndlessPermit()
    lane = StubLane(MemoryJournal(Edges()))
    return await job.process(plan, attempt=attempt, lane=lane, journal=lane.journal), lane


@pytest.mark.parametrize("clip_number", [1, 2, 7, CLIPS - 5])
async def test_each_clip_runs_once_over_both_attempts(tmp_path: Path, clip_number: int) -> None:
    permit = Permit()
    job = Job(tmp_path, permit=permit)
    job.add_clips(CLIPS)
    plan = planned(await job.plan())
    lane = calls_back_at(permit, clip_number)
    message = await returned(job, plan, lane)
    done = len(lane.worked_on)
    assert clip_number <= done <= clip_number + 4, "the batch in flight and one ahead of it end"
    assert f"{done} of {CLIPS} clips are delivered" in message
    assert (job.attempt_files(1) / "run.json").exists() and not (job.attempt_files(1) / "commit.json").exists()

    result, next_lane = await take_over(job, plan)
    assert sorted(lane.worked_on + next_lane.worked_on) == list(range(CLIPS))
    await job.finalize(plan, [commit_ref(result, 2)])
    rows = job.results()
    assert [row.index for row in rows] == list(range(CLIPS))
    assert [row.text for row in rows] == job.expected_texts()
    assert {row.attempt for row in rows} == {1, 2} and all(row.status is ClipStatus.SUCCEEDED for row in rows)


async def test_an_attempt_that_is_called_back_before_it_began_loads_nothing(tmp_path: Path) -> None:
    permit = Permit()
    permit.call_back()
    job = Job(tmp_path, permit=permit)
    job.add_clips(3)
    plan = planned(await job.plan())
    lane = StubLane(MemoryJournal(Edges()))
    assert "0 of 3 clips are delivered" in await returned(job, plan, lane)
    assert lane.loaded == [] and lane.worked_on == []


class EndlessLadders(StubLadders):
    """Measures until the attempt is called back, and would go on."""

    def __init__(self, permit: Permit) -> None:
        super().__init__()
        self.given_up = False
        self._permit = permit

    async def table(
        self,
        lane: Lane,
        model: ResolvedModel,
        lane_spec: LaneSpec,
        longest: Callable[[], Awaitable[Sequence[ClipTask]]],
    ) -> LadderTable | None:
        self._permit.call_back()
        try:
            await asyncio.sleep(TIMEOUT_SECONDS)
        finally:
            self.given_up = True
        return None


async def test_a_ladder_that_is_being_measured_holds_up_no_return(tmp_path: Path) -> None:
    """Its tiers are the largest batches, and what calls back may be memory that runs short."""
    permit = Permit()
    ladders = EndlessLadders(permit)
    job = Job(tmp_path, permit=permit, ladders=ladders)
    job.contract = job.contract.model_copy(update={"batching": Batching(ladder=Ladder(to=8))})
    job.add_clips(3)
    plan = planned(await job.plan())
    lane = StubLane(MemoryJournal(Edges()))
    assert "0 of 3 clips are delivered" in await returned(job, plan, lane)
    assert ladders.given_up and lane.worked_on == []


async def test_a_parked_attempt_resumes_to_deliver_what_it_has(tmp_path: Path) -> None:
    """Rows that no part holds yet would be lost with the journal otherwise."""
    job = Job(tmp_path)
    job.add_clips(6)
    plan = planned(await job.plan())
    lane = StubLane(MemoryJournal(Edges()))
    task: list[asyncio.Task[ShardResult]] = []

    async def before(clip: ClipTask) -> None:
        if len(lane.worked_on) == 4:
            task[0].cancel()
            await asyncio.sleep(TIMEOUT_SECONDS)

    lane.before = before
    task.append(asyncio.create_task(job.process(plan, lane=lane, journal=lane.journal)))
    with pytest.raises(asyncio.CancelledError):
        await task[0]
    assert lane.journal is not None and len(lane.journal.rows) >= 3
    kept = set(lane.journal.rows)
    permit = Permit()
    permit.call_back()
    job.permit = permit
    await returned(job, plan, lane)
    _, next_lane = await take_over(job, plan)
    assert set(next_lane.worked_on) == set(range(6)) - kept


async def test_one_that_is_called_back_with_nothing_left_commits(tmp_path: Path) -> None:
    permit = Permit()
    job = Job(tmp_path, permit=permit)
    job.add_clips(5)
    plan = planned(await job.plan())
    result = await job.process(plan, lane=calls_back_at(permit, 5))
    assert result.counts is not None and result.counts.succeeded == 5


async def test_a_fetch_that_never_ends_holds_up_no_return(tmp_path: Path) -> None:
    """The lane waits for the next clip when the attempt is called back."""
    permit = Permit()
    job = Job(tmp_path, permit=permit)
    job.add_clips(3)
    plan = planned(await job.plan())
    fetches = 0

    class OneFetch(Storage):
        async def download(self, uri: str, target: Path, version: ObjectVersion) -> str:
            nonlocal fetches
            fetches += 1
            if fetches > 1:
                await asyncio.sleep(TIMEOUT_SECONDS + 1)
            return await super().download(uri, target, version)

    lane = calls_back_at(permit, 1)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        with pytest.raises(VoxFleetError, match="1 of 3 clips are delivered"):
            await job.process(plan, lane=lane, journal=lane.journal, storage=OneFetch(job.allow))
    assert job.scratch_files() == []


async def test_the_lease_is_asked_before_each_batch_and_before_the_commit(tmp_path: Path) -> None:
    permit = Permit()
    job = Job(tmp_path, permit=permit)
    job.add_clips(4)
    plan = planned(await job.plan())
    lane = StubLane()
    await job.process(plan, lane=lane)
    assert permit.checks == len(lane.batches) + 1
