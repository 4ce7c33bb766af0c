"""Each place where a lane fails, with the class and the words that name the true cause. Real processes."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from tests.component.lanes.lane_rig import MakeLane, run, tasks, transcribe_spec

from voxfleet_agent import process_memory
from voxfleet_agent.lanes import child_process, memory_guard
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.failures import FailureClass, VoxFleetError

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 2**20


@pytest.mark.parametrize(
    ("behaviour", "failure_class", "words"),
    [
        ("raise", FailureClass.MODEL_UNAVAILABLE, "cannot be loaded, its code raised ValueError"),
        ("raise-memory", FailureClass.MEMORY_EXCEEDED, "no memory to load the model in .* may take 8192 MiB"),
        ("permission", FailureClass.MODEL_UNAVAILABLE, "cannot be read by the lane: Permission denied; .* laneUser"),
        ("segv", FailureClass.RUNTIME_MISMATCH, "ended twice as it loaded its model: .* by SIGSEGV"),
        ("exit", FailureClass.RUNTIME_MISMATCH, "ended twice as it loaded its model: .* with status 3"),
        ("kill", FailureClass.GPU_ABORT_OUT_OF_MEMORY, "something other than the agent .* by SIGKILL"),
        (
            "abort:kIOGPUCommandBufferCallbackErrorTimeout",
            FailureClass.GPU_ABORT_TIMEOUT,
            "the GPU gave up the lane's work",
        ),
        ("abort:bad_alloc", FailureClass.MEMORY_EXCEEDED, "because it got no more memory"),
    ],
)
async def test_a_model_that_does_not_load(
    behaviour: str, failure_class: FailureClass, words: str, stand_in: MakeLane, stand_in_model: ResolvedModel
) -> None:
    with pytest.raises(VoxFleetError, match=words) as caught:
        await stand_in({"load": behaviour}).load(stand_in_model, transcribe_spec())
    assert caught.value.failure_class is failure_class


async def test_a_model_that_loads_for_too_long(
    stand_in: MakeLane, stand_in_model: ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "LOAD_TIMEOUT_SECONDS", 3.0)
    with pytest.raises(
        VoxFleetError, match="did not load its model within 3 s; look at the load of this Mac"
    ) as caught:
        await stand_in({"load": "hang"}).load(stand_in_model, transcribe_spec())
    assert caught.value.failure_class is FailureClass.RUNTIME_MISMATCH
    assert "memory" not in caught.value.message


async def test_a_model_that_is_larger_than_the_cap(stand_in: MakeLane, stand_in_model: ResolvedModel) -> None:
    lane = stand_in({"load": "grow:900"}, memory_cap_bytes=600 * MIB)
    with pytest.raises(
        VoxFleetError, match=r"as it loaded its model: .* took \d+ MiB, its memory cap is 600"
    ) as caught:
        await lane.load(stand_in_model, transcribe_spec())
    assert caught.value.failure_class is FailureClass.MEMORY_EXCEEDED


async def test_a_transcript_beyond_a_message(stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path) -> None:
    """The lane lives on, and the clip's neighbours have their texts."""
    lane = stand_in({"2": "long:17"})
    await lane.load(stand_in_model, transcribe_spec())
    pid = lane.pid
    verdicts = {verdict.index: verdict for verdict in await run(lane, tasks(tmp_path, [1, 2, 3]))}
    assert (verdicts[0].text, verdicts[2].text) == ("clip 1", "clip 3")
    assert verdicts[1].failure_class is FailureClass.INFERENCE_ERROR and verdicts[1].text is None
    assert "the transcript takes more than 16 MiB, as when a model repeats itself" in verdicts[1].reason
    assert lane.pid == pid


async def test_a_file_that_the_lane_may_not_open(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in()
    await lane.load(stand_in_model, transcribe_spec())
    (task,) = tasks(tmp_path, [1])
    task.path.unlink()
    with pytest.raises(VoxFleetError, match="cannot open a file that the agent gave it: No such file") as caught:
        await run(lane, [task])
    assert caught.value.failure_class is FailureClass.RUNTIME_MISMATCH


async def test_a_child_that_cannot_be_measured_costs_no_clip(
    stand_in: MakeLane, stand_in_model: ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(pid: int | None = None) -> int:
        raise psutil.AccessDenied(pid)

    real = memory_guard.watch
    monkeypatch.setattr(memory_guard, "watch", lambda pid, cap, exceeded, _: real(pid, cap, exceeded, denied))
    with pytest.raises(VoxFleetError, match=r"cannot be measured \(AccessDenied\)") as caught:
        await stand_in().load(stand_in_model, transcribe_spec())
    assert caught.value.failure_class is FailureClass.RUNTIME_MISMATCH
    assert process_memory.footprint_bytes() > 0
