"""A Process attempt has its lane's pace compared with its ladder, and tells nothing that older agents refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.component.stages.stage_rig import Job, planned
from tests.component.stages.stage_stubs import StubLane, ladder_table

from voxfleet_agent.lanes.lane_types import ClipVerdict
from voxfleet_api.failures import FailureClass
from voxfleet_api.ladder_table import LadderTable
from voxfleet_api.run_record import LaneReadings


class Pace:
    """Notes what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.sent = 0

    @contextmanager
    def working(self) -> Iterator[None]:
        self.told.append("begins")
        try:
            yield
        finally:
            self.told.append("ends")

    def compare_with(self, table: LadderTable | None) -> None:
        self.told.append(table)

    def clips_sent(self, count: int) -> None:
        self.sent += count

    def clip_done(self, verdict: ClipVerdict) -> None:
        self.told.append(verdict.index)


async def test_every_verdict_is_compared_with_the_stored_ladder_while_the_lane_works(job: Job) -> None:
    job.add_clips(3)
    plan = planned(await job.plan())
    job.ladders.stored_table = ladder_table(2)
    job.pace = pace = Pace()
    lane = StubLane()
    lane.failures[1] = (FailureClass.INFERENCE_ERROR, "the test says so")
    await job.process(plan, lane=lane)
    assert pace.told[:2] == ["begins", job.ladders.stored_table] and pace.told[-1] == "ends"
    assert pace.told[2:-1] == lane.worked_on and sorted(lane.worked_on) == [0, 1, 2]
    assert pace.sent == 3


async def test_an_attempt_that_fails_leaves_no_lane_at_work(job: Job) -> None:
    job.add_clips(2)
    plan = planned(await job.plan())
    job.pace = pace = Pace()

    class Broken(StubLane):
        async def verdict(self, task: object, batch_size: int) -> ClipVerdict:
            raise RuntimeError("the lane is gone")

    with pytest.raises(BaseExceptionGroup):
        await job.process(plan, lane=Broken())
    assert pace.told[0] == "begins" and pace.told[-1] == "ends"


class Starved(StubLane):
    def readings(self) -> LaneReadings:
        return LaneReadings(ring_underruns=2, ring_underruns_by_cause={"Disk": 2})


@pytest.mark.parametrize("one_machine", [False, True])
async def test_run_json_tells_causes_only_where_no_older_agent_reads_it(tmp_path: Path, *, one_machine: bool) -> None:
    job = Job(tmp_path, one_machine=one_machine)
    job.add_clips(1)
    await job.process(planned(await job.plan()), lane=Starved())
    readings = json.loads((job.attempt_files(1) / "run.json").read_text())["readings"]
    assert readings["ringUnderruns"] == 2
    assert readings.get("ringUnderrunsByCause") == ({"Disk": 2} if one_machine else None)
