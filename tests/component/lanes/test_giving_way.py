"""A lane for batches that gives way; the worker is real, its model a stand-in."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from tests.component.lanes.lane_rig import END_SECONDS, MakeLane, by_index, run, tasks, transcribe_spec

from voxfleet_agent.lanes.lane import ProcessLane
from voxfleet_agent.models.resolved_model import ResolvedModel

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Stillness:
    """When a lane stood still, and that it does no more."""

    def __init__(self, lane: ProcessLane) -> None:
        self.told: list[bool] = []
        self.steps: list[int] = []
        self._changed = asyncio.Event()
        lane.giving_way.changed = self._take
        lane.giving_way.step_ended = self.steps.append

    def _take(self, still: bool) -> None:
        self.told.append(still)
        self._changed.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(END_SECONDS):
            while len(self.told) < count:
                self._changed.clear()
                await self._changed.wait()


async def test_a_lane_stands_still_once_its_step_has_ended(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in({"2": "tell-pause"}, batch_size=1)
    await lane.load(stand_in_model, transcribe_spec())
    stillness, reached = Stillness(lane), asyncio.Event()
    clips = tasks(tmp_path, [1, 2, 3, 4])
    clips[1] = replace(clips[1], heard=lambda _: reached.set())
    working = asyncio.create_task(run(lane, clips))
    async with asyncio.timeout(END_SECONDS):
        await reached.wait()
        lane.giving_way.pause()
        assert stillness.told == [], "its step has not ended"
        await stillness.until(1)
        assert lane.giving_way.still and not working.done()
        lane.giving_way.resume()
        verdicts = await working
    assert [verdict.text for verdict in verdicts] == ["clip 1", "clip 2", "clip 3", "clip 4"]
    assert stillness.told == [True, False] and len(stillness.steps) == 1 and stillness.steps[0] > 0


async def test_a_child_that_dies_while_it_is_paused_is_replaced_by_one_that_is_paused(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in(batch_size=1)
    await lane.load(stand_in_model, transcribe_spec())
    stillness = Stillness(lane)
    lane.giving_way.pause()
    working = asyncio.create_task(run(lane, tasks(tmp_path, [1, 2, 3])))
    await stillness.until(3)  # without batches, then with one that it has not acknowledged, then paused
    assert lane.pid is not None
    os.kill(lane.pid, signal.SIGKILL)
    before = len(stillness.told)
    await stillness.until(before + 4)  # it loads, which is its job's time; without batches; with one; paused
    assert stillness.told[before:] == [False, True, False, True] and not working.done()
    lane.giving_way.resume()
    async with asyncio.timeout(END_SECONDS):
        verdicts = await working
    assert [(verdict.text, verdict.failure_class) for verdict in verdicts] == [(f"clip {n}", None) for n in (1, 2, 3)]


async def test_quanta_split_batches_and_leave_the_lanes_batch_size_alone(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in({"13": "crowd:raise"}, batch_size=4)
    await lane.load(stand_in_model, transcribe_spec())
    lane.giving_way.most_clips = lambda: 2
    found = by_index(await run(lane, tasks(tmp_path, [1, 2, 3, 4, 5])))
    assert [found[index].batch_size for index in range(5)] == [2, 2, 2, 2, 1]
    assert lane.batch_size == 4
    lane.giving_way.most_clips = lambda: None
    assert by_index(await run(lane, tasks(tmp_path, [1, 2, 3, 4])))[0].batch_size == 4


async def test_a_lane_that_is_killed_while_it_is_paused_ends_and_works_again(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in(batch_size=1)
    await lane.load(stand_in_model, transcribe_spec())
    stillness = Stillness(lane)
    lane.giving_way.pause()
    working = asyncio.create_task(run(lane, tasks(tmp_path, [1, 2])))
    await stillness.until(3)
    working.cancel()
    await asyncio.wait({working})
    assert stillness.told[-1] is False
    lane.giving_way.resume()
    await lane.load(stand_in_model, transcribe_spec())
    assert [verdict.failure_class for verdict in await run(lane, tasks(tmp_path, [1]))] == [None]
