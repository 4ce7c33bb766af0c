"""What fails while a real agent keeps lanes warm: children, models, and the disk."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.component.agent.agent_rig import MODEL, Agent, ManualClock
from tests.component.agent.endpoint_lane_rig import (
    REQUEST,
    FoundModels,
    agent_with_lanes,
    delete,
    lane_request,
    loads,
    path_of,
    put,
    until,
)

from voxfleet_agent.lanes import interactive_lane
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.endpoint_lanes import LaneKey
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_task import Synthesis, SynthesisMode, Task, VoiceReference


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    async with agent_with_lanes(tmp_path) as running:
        yield running


async def test_a_killed_child_is_told_and_replaced(agent: Agent) -> None:
    await put(agent, REQUEST)
    await until(agent, "Ready")
    lane = agent.lanes.lane(LaneKey("endpoint-1", 1))
    assert lane is not None and lane.pid is not None
    os.kill(lane.pid, signal.SIGKILL)
    loading = await until(agent, "Loading")
    assert loading.failure is not None and loading.failure.failure_class is FailureClass.GPU_ABORT_OUT_OF_MEMORY
    ready = await until(agent, "Ready")
    assert ready.failure is None and loads(agent) == 2


async def test_a_lane_that_failed_tries_again_after_a_while(tmp_path: Path) -> None:
    clock, models = ManualClock(), FoundModels()
    models.error = VoxFleetError(FailureClass.MODEL_UNAVAILABLE, "no such weights")
    async with agent_with_lanes(tmp_path, clock=clock, models=models) as agent:
        await put(agent, REQUEST)
        failed = await until(agent, "Failed")
        assert failed.failure is not None and failed.lane is None
        assert (failed.failure.failure_class, failed.failure.message) == ("ModelUnavailable", "no such weights")
        other = lane_request(uid="endpoint-2")
        models.error = None
        assert (await put(agent, REQUEST)).json()["state"] == "Failed" and models.resolved == 1, "too soon"
        clock.advance(2)
        assert (await put(agent, REQUEST)).json()["state"] == "Loading"
        await until(agent, "Ready")
        assert (await put(agent, other)).status_code == 429


async def test_a_lane_that_nothing_keeps_warm_any_more_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unforeseen(*_: object) -> int:
        raise ZeroDivisionError

    clock = ManualClock()
    async with agent_with_lanes(tmp_path, clock=clock) as agent:
        await put(agent, REQUEST)
        await until(agent, "Ready")
        lane = agent.lanes.lane(LaneKey("endpoint-1", 1))
        assert lane is not None and lane.pid is not None
        with monkeypatch.context() as patch:
            patch.setattr(interactive_lane, "early_ends", unforeseen)
            os.kill(lane.pid, signal.SIGKILL)
            failed = await until(agent, "Failed")
        assert failed.failure is not None and failed.lane is None
        assert failed.failure.failure_class is FailureClass.RUNTIME_MISMATCH
        assert "ZeroDivisionError" in failed.failure.message
        clock.advance(2)
        await put(agent, REQUEST)
        await until(agent, "Ready")


async def test_the_lanes_of_an_endpoint_load_one_model(agent: Agent) -> None:
    await put(agent, lane_request(model_digest="sha256:" + "f" * 64))
    failed = await until(agent, "Failed")
    assert failed.failure is not None and failed.failure.failure_class is FailureClass.MODEL_MISMATCH
    assert MODEL.digest in failed.failure.message


async def test_a_voices_recording_stays_in_scratch_for_as_long_as_its_lane(tmp_path: Path) -> None:
    voices = tmp_path / "voices"
    voices.mkdir()
    (voices / "voice.wav").write_bytes(b"x" * 100)
    reference = VoiceReference(uri=(voices / "voice.wav").as_uri(), text="one")
    synthesis = Synthesis(mode=SynthesisMode.CUSTOM_VOICE, reference=reference)
    request = lane_request(task=Task.SYNTHESIZE, synthesis=synthesis).model_copy(
        update={"uri_prefixes": (f"{voices.as_uri()}/",)}
    )
    async with agent_with_lanes(tmp_path, allow=(f"{voices.as_uri()}/",)) as agent:
        await put(agent, request)
        await until(agent, "Ready")
        kept = tmp_path / "scratch" / "attempts" / "endpoint-1.1" / "reference"
        await agent.supervisor.sweep()
        assert kept.read_bytes() == b"x" * 100 and agent.scratch.reserved_bytes == 100
        await delete(agent, path_of(request))
        await until(agent, None)
        assert not kept.parent.exists() and agent.scratch.reserved_bytes == 0


async def test_scratch_that_cannot_be_removed_ends_neither_the_agent_nor_a_lane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = FoundModels()
    models.error = VoxFleetError(FailureClass.MODEL_UNAVAILABLE, "no such weights")
    async with agent_with_lanes(tmp_path, models=models) as agent:
        remove, removed = agent.scratch.remove_attempt, []

        async def refuse(key: AttemptKey) -> int:
            raise OSError(errno.EIO, "the disk says no")

        async def note_and_remove(key: AttemptKey) -> int:
            removed.append(key)
            return await remove(key)

        monkeypatch.setattr(agent.scratch, "remove_attempt", refuse)
        await put(agent, REQUEST)
        assert (await until(agent, "Failed")).lane is None
        assert await delete(agent, path_of(REQUEST)) == 202
        await until(agent, None)
        models.error = None
        newer = lane_request(generation=2)
        await put(agent, newer)
        await until(agent, "Ready", path_of(newer))
        monkeypatch.setattr(agent.scratch, "remove_attempt", note_and_remove)
        await agent.lanes.sweep()
        await agent.lanes.sweep()
        assert removed == [AttemptKey("endpoint-1", 1)]
