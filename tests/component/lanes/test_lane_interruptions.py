"""Clips that hang, children that are killed or do not end, and calls that break off: no other clip pays for them.

The worker is real, its model is a stand-in.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import psutil
import pytest
from tests.component.lanes.lane_rig import (
    POISON,
    MakeLane,
    assert_only_the_poison_suffers,
    by_index,
    contract,
    run,
    tasks,
    tone,
    transcribe_spec,
)

from voxfleet_agent.lanes import child_process
from voxfleet_agent.lanes.hang_detection import HangTimeouts
from voxfleet_agent.lanes.lane_types import ClipTask
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Conversions, Windows

pytestmark = pytest.mark.asyncio(loop_scope="module")

END_SECONDS = 60.0


async def test_a_clip_that_hangs_is_found_and_its_siblings_are_transcribed(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in({str(POISON): "hang"}, timeouts=HangTimeouts(inferring_seconds=0.5))
    await lane.load(stand_in_model, transcribe_spec(contract(max_clip="1s", min_clip="1ms")))
    clips = tasks(tmp_path, [1, POISON, 3], milliseconds=20)
    poison = assert_only_the_poison_suffers(await run(lane, clips), [1, POISON, 3])
    assert poison.failure_class is FailureClass.LANE_CRASHED and "no sign of life" in poison.reason


async def test_a_model_that_hangs_within_a_long_clip_is_found_as_soon_as_within_a_short_one(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    """A minute of audio earns a model ten minutes of silence, unless it tells its progress."""
    lane = stand_in({str(POISON): "tell-hang"}, timeouts=HangTimeouts(inferring_seconds=0.5), batch_size=1)
    await lane.load(stand_in_model, transcribe_spec(contract(max_clip="2m")))
    told: list[int] = []
    clip = ClipTask(0, tone(tmp_path / "clip", POISON, 60_000), audio_milliseconds=60_000, heard=told.append)
    async with asyncio.timeout(END_SECONDS):
        (verdict,) = await run(lane, [clip])
    assert verdict.failure_class is FailureClass.LANE_CRASHED and "no sign of life" in verdict.reason
    assert told == [30_000, 30_000]


async def test_the_progress_within_a_clip_is_told_while_the_model_works(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    """The model goes on only once the lane's caller knows that half of the clip is heard."""
    marker = tmp_path / "marker"
    lane = stand_in({"2": f"tell:{marker}"}, batch_size=1)
    await lane.load(stand_in_model, transcribe_spec())
    told: list[int] = []

    def heard(milliseconds: int) -> None:
        told.append(milliseconds)
        marker.touch()

    async with asyncio.timeout(END_SECONDS):
        (verdict,) = await run(lane, [ClipTask(0, tone(tmp_path / "clip", 2, 1000), heard=heard)])
    assert verdict.text == "clip 2" and told[0] == 500


async def test_windows_tell_how_much_of_a_clip_is_heard(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in(batch_size=1)
    await lane.load(stand_in_model, transcribe_spec(contract(Conversions(windows=Windows(length="1s")))))
    told: list[int] = []
    (verdict,) = await run(lane, [ClipTask(0, tone(tmp_path / "clip", 2, 3500), heard=told.append)])
    assert verdict.text == " ".join(["clip 2"] * 4)
    assert told[:3] == [1000, 2000, 3000] and told == sorted(told)


async def test_a_clip_that_the_decoder_waits_on_is_found_long_before_a_hung_model_would_be(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    # It spends no processor time, like a child on a busy machine: that never counts as an endless decode.
    lane = stand_in(timeouts=HangTimeouts(decoding_seconds=0.5, decoding_cpu_seconds=0))
    await lane.load(stand_in_model, transcribe_spec(contract(max_clip="1s", min_clip="1ms")))
    async with asyncio.timeout(HangTimeouts().inferring_seconds / 2):
        verdicts = by_index(await run(lane, tasks(tmp_path, [1, -2, 3])))
    assert {index: verdict.text for index, verdict in verdicts.items()} == {0: "clip 1", 1: None, 2: "clip 3"}
    assert verdicts[1].failure_class is FailureClass.LANE_CRASHED and "no sign of life" in verdicts[1].reason


async def test_a_clip_that_the_decoder_works_on_without_end_gets_its_verdict_at_once(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    # No timeout can end it: only the processor time of the decoder counts.
    lane = stand_in(timeouts=HangTimeouts(decoding_seconds=10_000, decoding_cpu_seconds=0.5), batch_size=2)
    await lane.load(stand_in_model, transcribe_spec(contract(max_clip="1s", min_clip="1ms")))
    async with asyncio.timeout(END_SECONDS):
        verdicts = by_index(await run(lane, tasks(tmp_path, [1, -3, 3, -3, 5], milliseconds=20)))
    assert {index: (verdict.text, verdict.failure_class, verdict.retries) for index, verdict in verdicts.items()} == {
        0: ("clip 1", None, 0),
        1: (None, FailureClass.DECODE_ERROR, 0),
        2: ("clip 3", None, 0),
        3: (None, FailureClass.DECODE_ERROR, 0),
        4: ("clip 5", None, 0),
    }
    assert "no end" in verdicts[1].reason
    assert lane.readings().restarts == {"LaneCrashed": 2}


async def test_a_child_killed_from_outside_costs_no_clip(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    lane = stand_in({"2": f"once:{marker}:hang"}, batch_size=2)
    await lane.load(stand_in_model, transcribe_spec())
    clips = tasks(tmp_path, [1, 2, 3, 4, 5])
    running = asyncio.create_task(run(lane, clips[:2], clips[2:]))
    while not marker.exists():  # noqa: ASYNC110 - the child announces its hanging by a file
        await asyncio.sleep(0.01)
    assert lane.pid is not None
    os.kill(lane.pid, signal.SIGKILL)
    verdicts = by_index(await running)
    assert {index: (verdict.text, verdict.retries) for index, verdict in verdicts.items()} == {
        n: (f"clip {n + 1}", 0) for n in range(5)
    }
    assert lane.readings().restarts == {"GpuAbortOutOfMemory": 1}
    assert lane.readings().ring_resets == {"Restart": 1}


async def test_a_lane_whose_children_end_for_ever_gives_up(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxfleet_agent.lanes.clip_queue.MAX_DEATHS_IN_A_ROW", 3)
    lane = stand_in({str(number): "exit" for number in range(1, 5)})
    await lane.load(stand_in_model, transcribe_spec())
    with pytest.raises(VoxFleetError, match="again and again") as caught:
        await run(lane, tasks(tmp_path, [1, 2, 3, 4]))
    assert caught.value.failure_class is FailureClass.RUNTIME_MISMATCH


async def test_closing_the_verdicts_early_ends_the_child_and_the_next_attempt_gets_its_own_clips(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in({"2": f"once:{tmp_path / 'marker'}:hang"}, batch_size=1)
    await lane.load(stand_in_model, transcribe_spec())
    pid = lane.pid
    assert pid is not None
    clips = tasks(tmp_path, [1, 2, 3])

    async def feed() -> AsyncGenerator[Sequence[ClipTask], None]:
        yield clips

    async with aclosing(feed()) as batches, aclosing(lane.work(batches)) as verdicts:
        assert (await anext(verdicts)).text == "clip 1"
    assert lane.pid is None and not psutil.pid_exists(pid)
    assert lane.readings().ring_resets == {"Cancelled": 1}
    await lane.load(stand_in_model, transcribe_spec())
    (verdict,) = await run(lane, [ClipTask(1, clips[2].path)])
    assert verdict.text == "clip 3"


async def test_an_error_of_the_feed_is_raised(stand_in: MakeLane, stand_in_model: ResolvedModel) -> None:
    lane = stand_in()
    await lane.load(stand_in_model, transcribe_spec())

    async def feed() -> AsyncGenerator[Sequence[ClipTask], None]:
        yield ()
        raise VoxFleetError(FailureClass.TRANSPORT, "the network is down")

    with pytest.raises(VoxFleetError, match="network is down"):
        async with aclosing(lane.work(feed())) as verdicts:
            _ = [verdict async for verdict in verdicts]
    assert lane.pid is not None  # it was working on nothing


HOLDER = """
import ctypes, sys
if ctypes.CDLL(None, use_errno=True).ptrace(0x4206, int(sys.argv[1]), None, None) != 0: sys.exit("cannot trace")
print("held", flush=True); sys.stdin.read()
"""


@asynccontextmanager
async def held(pid: int) -> AsyncIterator[None]:
    """The system does not tell the parent of a process that it has ended while another one traces it (PTRACE_SEIZE)."""
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLDER, str(pid), stdin=PIPE, stdout=PIPE)
    assert holder.stdin is not None and holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    try:
        yield
    finally:
        holder.stdin.close()
        await holder.wait()


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may trace any process")
@pytest.mark.parametrize("how", ["kill", "channel"])
async def test_a_killed_child_that_does_not_end_holds_up_nobody(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """As one that waits in the kernel for a disk or a GPU driver."""
    monkeypatch.setattr(child_process, "_END_SECONDS", 0.2)
    monkeypatch.setattr(child_process, "_DRAIN_SECONDS", 0.1)
    lane = stand_in(
        {"5": f"once:{tmp_path / 'marker'}:fork-hang"} if how == "channel" else {},
        timeouts=HangTimeouts(inferring_seconds=0.5),
    )
    await lane.load(stand_in_model, transcribe_spec())
    assert lane.pid is not None
    async with asyncio.timeout(15), held(lane.pid):
        if how == "kill":
            await lane.kill()
            await lane.load(stand_in_model, transcribe_spec())
        verdicts = {verdict.index: verdict for verdict in await run(lane, tasks(tmp_path, [5, 6], 10))}
    assert {index: verdict.text for index, verdict in verdicts.items()} == {0: "clip 5", 1: "clip 6"}
