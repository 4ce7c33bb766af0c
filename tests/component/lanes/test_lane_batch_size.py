"""When a lane halves its batches, and which halvings a job remembers. The worker is real, its model a stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.component.lanes.lane_rig import OUT_OF_MEMORY, POISON, TIMEOUT, MakeLane, run, tasks, transcribe_spec

from voxfleet_agent.lanes.lane_types import LANE_BATCHES, StepDown
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.failures import FailureClass

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHORT = "memory ran short inside the model"
CAP_BYTES = 400 * 2**20


async def test_batches_that_were_sent_before_a_shortage_do_not_halve_again(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in({"2": "crowd:raise-memory"}, batch_size=8)
    await lane.load(stand_in_model, transcribe_spec())
    verdicts = await run(lane, tasks(tmp_path, [1, 2, 3, 4, 5, 6, 7, 8] * LANE_BATCHES))
    assert all(verdict.failure_class is None for verdict in verdicts)
    assert (lane.batch_size, lane.stepped_down) == (4, StepDown(4, SHORT))


async def test_a_death_of_a_batch_that_was_sent_before_a_shortage_does_not_halve_again(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in({"2": "crowd:raise-memory", "9": f"crowd:abort:{OUT_OF_MEMORY}"}, batch_size=8)
    await lane.load(stand_in_model, transcribe_spec())
    verdicts = await run(lane, tasks(tmp_path, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]))
    assert all(verdict.failure_class is None for verdict in verdicts)
    assert lane.readings().restarts == {"GpuAbortOutOfMemory": 1}
    assert (lane.batch_size, lane.stepped_down) == (4, StepDown(4, SHORT))


@pytest.mark.parametrize("behaviour", ["raise-memory", "abort:std::bad_alloc", f"abort:{OUT_OF_MEMORY}", "grow:512"])
async def test_a_clip_that_needs_too_much_memory_even_alone_leaves_the_batches_as_they_are(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path, behaviour: str
) -> None:
    lane = stand_in({str(POISON): behaviour}, batch_size=4, memory_cap_bytes=CAP_BYTES)
    await lane.load(stand_in_model, transcribe_spec())
    verdicts = await run(lane, tasks(tmp_path, [1, POISON, 3, 4, 5, 6]))
    assert [verdict.index for verdict in verdicts if verdict.failure_class is FailureClass.MEMORY_EXCEEDED] == [1]
    assert (lane.batch_size, lane.stepped_down) == (4, None)


@pytest.mark.parametrize("cause", ["kill", f"abort:{TIMEOUT}"])
async def test_a_halving_that_others_on_the_mac_caused_is_not_the_lanes_own(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path, cause: str
) -> None:
    lane = stand_in({"2": f"crowd:{cause}", "9": "crowd:raise-memory"}, batch_size=8)
    await lane.load(stand_in_model, transcribe_spec())
    clips = tasks(tmp_path, [1, 2, 3, 4, 9, 6])
    await run(lane, clips[:4])
    assert (lane.batch_size, lane.stepped_down) == (4, None)
    await run(lane, clips[4:])
    assert (lane.batch_size, lane.stepped_down) == (2, StepDown(4, SHORT))


@pytest.mark.parametrize(
    ("behaviour", "ended"), [("crowd:grow:512", "MemoryExceeded"), ("crowd:raise-memory", "Recycled")]
)
async def test_a_shortage_of_a_child_that_is_being_recycled_says_nothing_about_batches(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path, behaviour: str, ended: str
) -> None:
    lane = stand_in({"9": "leak:120", "7": behaviour}, batch_size=2, memory_cap_bytes=CAP_BYTES)
    await lane.load(stand_in_model, transcribe_spec())
    clips = tasks(tmp_path, [1, 2, 3, 4, 5, 6, 9, 10, 7, 8, *[11, 12] * LANE_BATCHES])
    verdicts = await run(lane, clips)
    assert all(verdict.failure_class is None for verdict in verdicts)
    assert lane.readings().restarts == {ended: 1}
    assert (lane.batch_size, lane.stepped_down) == (1, None)
