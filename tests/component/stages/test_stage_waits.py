"""The wait in a clip's timings."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest
from tests.component.stages.stage_reading import rows_of
from tests.component.stages.stage_rig import Job, planned
from tests.component.stages.stage_stubs import StubLane

from voxfleet_agent.lanes.lane_types import LaneSpec, LoadedModel
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.stages.process import pipeline, prefetch
from voxfleet_agent.stages.process.batching import ReadyClips

LOADING_SECONDS = 1000
CLIPS = 2


async def test_no_clip_waits_for_the_model_to_load(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stages' clock jumps while the model loads and the clips are ready."""
    leapt_seconds = 0.0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + leapt_seconds)
    monkeypatch.setattr(pipeline, "time", clock)
    monkeypatch.setattr(prefetch, "time", clock)

    add, ready = ReadyClips.add, asyncio.Semaphore(0)

    def watched(batches: ReadyClips[prefetch.PreparedClip], bucket: int, clip: prefetch.PreparedClip) -> None:
        add(batches, bucket, clip)
        ready.release()

    monkeypatch.setattr(ReadyClips, "add", watched)

    class SlowToLoad(StubLane):
        async def load(self, model: ResolvedModel, lane_spec: LaneSpec) -> LoadedModel:
            nonlocal leapt_seconds
            for _ in range(CLIPS):
                await ready.acquire()
            leapt_seconds += LOADING_SECONDS
            return await super().load(model, lane_spec)

    job.add_clips(CLIPS)
    await job.process(planned(await job.plan()), lane=SlowToLoad())
    waits = [row.timings.wait_milliseconds for row in rows_of(job) if row.timings is not None]
    assert len(waits) == CLIPS and max(waits) < LOADING_SECONDS * 500
