"""The progress of a shard, in clips and in audio."""

from __future__ import annotations

from tests.component.stages.stage_rig import Job, planned
from tests.component.stages.stage_stubs import CLIP_MILLISECONDS, StubLane

from voxfleet_agent.lanes.lane_types import ClipTask


async def test_progress_holds_the_parts_of_clips_that_the_model_has_heard(job: Job) -> None:
    """The second try of a clip begins at its start, and its progress stays where it was."""
    job.add_clips(2)
    plan = planned(await job.plan())
    job.heard_milliseconds.clear()
    lane = StubLane()

    async def tell(task: ClipTask) -> None:
        assert task.heard is not None
        for milliseconds in (50, 100, 30, 10 * CLIP_MILLISECONDS):
            task.heard(milliseconds)

    lane.before = tell
    await job.process(plan, lane=lane)
    assert [*dict.fromkeys(job.heard_milliseconds)] == [0, 50, 100, 200, 250, 300, 400]
    assert job.progress[-1] == (2, 2)
