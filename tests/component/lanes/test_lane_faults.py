"""One bad clip costs no other clip of the lane anything. The worker is real, its model is a stand-in."""

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
from tests.component.lanes.lane_rig import MakeLane, contract, run, tasks, tone, transcribe_spec

from voxfleet_agent.lanes import child_process
from voxfleet_agent.lanes.hang_detection import HangTimeouts
from voxfleet_agent.lanes.lane_types import LANE_BATCHES, ClipTask, ClipVerdict
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.failures import RULES, FailureClass, Remedy, VoxFleetError

pytestmark = pytest.mark.asyncio(loop_scope="module")

POISON = 13
END_SECONDS = 60.0
METAL = (
    "libc++abi: terminating due to uncaught exception of type std::runtime_error: [METAL] Command buffer execution "
    "failed: {what} ({code:08x}:kIOGPUCommandBufferCallbackError{name})"
)
OUT_OF_MEMORY = METAL.format(what="Insufficient Memory", code=8, name="OutOfMemory")
TIMEOUT = METAL.format(what="Caused GPU Timeout Error", code=2, name="Timeout")
INTERACTIVITY = METAL.format(what="Impacting Interactivity", code=14, name="ImpactingInteractivity")
VICTIM = METAL.format(what="Innocent Victim of GPU Error/Recovery", code=5, name="InnocentVictim")


def by_index(verdicts: Sequence[ClipVerdict]) -> dict[int, ClipVerdict]:
    assert len({verdict.index for verdict in verdicts}) == len(verdicts)
    return {verdict.index: verdict for verdict in verdicts}


def assert_only_the_poison_suffers(verdicts: Sequence[ClipVerdict], numbers: Sequence[int]) -> ClipVerdict:
    """All other clips are transcribed at the first try; returns the verdict of the poison clip."""
    found = by_index(verdicts)
    assert sorted(found) == list(range(len(numbers)))
    for index, number in enumerate(numbers):
        if number != POISON:
            assert (found[index].text, found[index].failure_class, found[index].retries) == (f"clip {number}", None, 0)
    return found[numbers.index(POISON)]


async def test_a_poison_clip_is_found_wherever_it_stands_in_a_batch(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in({str(POISON): "raise"}, batch_size=8)
    await lane.load(stand_in_model, transcribe_spec())
    pid = lane.pid
    for position in range(8):
        numbers = [1, 2, 3, 4, 5, 6, 7]
        numbers.insert(position, POISON)
        poison = assert_only_the_poison_suffers(await run(lane, tasks(tmp_path, numbers)), numbers)
        assert poison.failure_class is FailureClass.INFERENCE_ERROR
        assert poison.reason == "the model raised ValueError"
        assert (poison.text, poison.retries) == (None, 3)  # alone after halves of four, two and one
    assert lane.pid == pid and lane.readings().restarts == {}


async def test_a_failed_allocation_in_python_halves_the_batches(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in({"2": "crowd:raise-memory", str(POISON): "raise-memory"}, batch_size=4)
    await lane.load(stand_in_model, transcribe_spec())
    pid = lane.pid
    poison = assert_only_the_poison_suffers(await run(lane, tasks(tmp_path, [1, 2, POISON, 4])), [1, 2, POISON, 4])
    assert poison.failure_class is FailureClass.MEMORY_EXCEEDED
    assert (lane.pid, lane.batch_size, lane.readings().batch_size) == (pid, 2, 2)
    # Later calls of the attempt use the size that fits.
    await lane.load(stand_in_model, transcribe_spec())
    await run(lane, tasks(tmp_path, [1, 3]))
    assert lane.batch_size == 2


@pytest.mark.parametrize(
    ("behaviour", "failure_class", "words"),
    [
        ("segv", FailureClass.LANE_CRASHED, "SIGSEGV"),
        ("abort:std::bad_alloc", FailureClass.MEMORY_EXCEEDED, "no more memory"),
    ],
)
async def test_a_clip_that_ends_the_child_is_isolated(
    stand_in: MakeLane,
    stand_in_model: ResolvedModel,
    tmp_path: Path,
    behaviour: str,
    failure_class: FailureClass,
    words: str,
) -> None:
    lane = stand_in({str(POISON): behaviour}, batch_size=3)
    await lane.load(stand_in_model, transcribe_spec())
    numbers = [1, POISON, 3, 4, 5]
    clips = tasks(tmp_path, numbers)
    poison = assert_only_the_poison_suffers(await run(lane, clips[:3], clips[3:]), numbers)
    assert poison.failure_class is failure_class and words in poison.reason and "alone" in poison.reason
    # One death with its siblings and two alone: no method needs fewer.
    assert lane.readings().restarts == {failure_class.value: 3}
    assert (lane.batch_size, lane.stepped_down) == (3, None)  # a smaller batch would not have helped


@pytest.mark.parametrize(
    ("text", "failure_class", "batch_size"),
    [
        (OUT_OF_MEMORY, FailureClass.GPU_ABORT_OUT_OF_MEMORY, 2),
        (TIMEOUT, FailureClass.GPU_ABORT_TIMEOUT, 2),
        (INTERACTIVITY, FailureClass.GPU_ABORT_TIMEOUT, 2),
        (VICTIM, FailureClass.GPU_ABORT_INNOCENT_VICTIM, 4),
    ],
)
async def test_a_batch_that_the_gpu_gives_up_is_transcribed_clip_by_clip(
    stand_in: MakeLane,
    stand_in_model: ResolvedModel,
    tmp_path: Path,
    text: str,
    failure_class: FailureClass,
    batch_size: int,
) -> None:
    lane = stand_in({"2": f"crowd:abort:{text}"}, batch_size=4)
    await lane.load(stand_in_model, transcribe_spec())
    verdicts = by_index(await run(lane, tasks(tmp_path, [1, 2, 3, 4])))
    assert {index: verdict.text for index, verdict in verdicts.items()} == {n: f"clip {n + 1}" for n in range(4)}
    assert all(verdict.retries == 0 for verdict in verdicts.values())
    assert lane.batch_size == batch_size
    assert lane.readings().restarts == {failure_class.value: 1}


@pytest.mark.parametrize(
    ("behaviour", "failure_class"),
    [
        (f"abort:{VICTIM}", FailureClass.GPU_ABORT_INNOCENT_VICTIM),
        ("kill", FailureClass.GPU_ABORT_OUT_OF_MEMORY),
    ],
)
async def test_a_lane_that_others_end_is_the_macs_fault_and_never_the_clips(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path, behaviour: str, failure_class: FailureClass
) -> None:
    lane = stand_in({str(POISON): behaviour}, batch_size=3)
    await lane.load(stand_in_model, transcribe_spec())
    verdicts: list[ClipVerdict] = []

    async def work() -> None:
        async with aclosing(feed()) as batches, aclosing(lane.work(batches)) as answers:
            async for verdict in answers:
                verdicts.append(verdict)

    async def feed() -> AsyncGenerator[Sequence[ClipTask], None]:
        yield tasks(tmp_path, [1, POISON, 3])

    with pytest.raises(VoxFleetError, match="no clip is at fault") as caught:
        await work()
    assert caught.value.failure_class is failure_class
    assert RULES[failure_class].remedy is Remedy.OTHER_MAC
    # Its siblings were transcribed; it has no verdict itself.
    assert {verdict.text for verdict in verdicts} <= {"clip 1", "clip 3"}
    assert all(verdict.failure_class is None for verdict in verdicts)
    assert lane.readings().restarts == {failure_class.value: 3}
    assert lane.batch_size == (1 if behaviour == "kill" else 3)


@pytest.mark.parametrize(
    ("text", "failure_class"),
    [(OUT_OF_MEMORY, FailureClass.MEMORY_EXCEEDED), (TIMEOUT, FailureClass.LANE_CRASHED)],
)
@pytest.mark.parametrize("numbers", [[1, POISON, 3], [POISON]])
async def test_a_clip_that_the_gpu_always_gives_up_on_is_at_fault_when_the_gpu_works_without_it(
    stand_in: MakeLane,
    stand_in_model: ResolvedModel,
    tmp_path: Path,
    text: str,
    failure_class: FailureClass,
    numbers: list[int],
) -> None:
    lane = stand_in({str(POISON): f"abort:{text}"}, batch_size=1)
    await lane.load(stand_in_model, transcribe_spec())
    clips = tasks(tmp_path, numbers)
    poison = assert_only_the_poison_suffers(await run(lane, *([clip] for clip in clips)), numbers)
    assert poison.failure_class is failure_class
    assert "alone" in poison.reason and "the GPU gave up" in poison.reason


async def test_a_gpu_that_fails_clip_after_clip_ends_the_attempt_and_poisons_no_clip(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in({str(number): f"abort:{TIMEOUT}" for number in range(1, 6)}, batch_size=1)
    await lane.load(stand_in_model, transcribe_spec())
    with pytest.raises(VoxFleetError, match="no clip is at fault") as caught:
        await run(lane, tasks(tmp_path, [1, 2, 3, 4, 5]))
    assert caught.value.failure_class is FailureClass.GPU_ABORT_TIMEOUT


async def test_a_metal_fault_as_an_exception_ends_the_child_too(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in({"2": f"once:{tmp_path / 'marker'}:raise-metal:{TIMEOUT}"}, batch_size=2)
    await lane.load(stand_in_model, transcribe_spec())
    verdicts = by_index(await run(lane, tasks(tmp_path, [1, 2])))
    assert {verdict.text for verdict in verdicts.values()} == {"clip 1", "clip 2"}
    assert lane.readings().restarts == {"GpuAbortTimeout": 1}


async def test_a_clip_that_hangs_is_found_and_its_siblings_are_transcribed(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in({str(POISON): "hang"}, timeouts=HangTimeouts(inferring_seconds=0.5))
    await lane.load(stand_in_model, transcribe_spec(contract(max_clip="1s", min_clip="1ms")))
    clips = tasks(tmp_path, [1, POISON, 3], milliseconds=20)
    poison = assert_only_the_poison_suffers(await run(lane, clips), [1, POISON, 3])
    assert poison.failure_class is FailureClass.LANE_CRASHED and "no sign of life" in poison.reason


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


async def test_a_child_over_its_memory_cap_is_ended_and_the_other_lane_goes_on(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    cap_bytes = 256 * 2**20
    heavy = stand_in({str(POISON): "grow:256"}, memory_cap_bytes=cap_bytes)
    light = stand_in({"1": "hang"}, memory_cap_bytes=cap_bytes)
    await asyncio.gather(heavy.load(stand_in_model, transcribe_spec()), light.load(stand_in_model, transcribe_spec()))
    light_pid = light.pid
    hanging = asyncio.create_task(run(light, [ClipTask(0, tone(tmp_path / "hang", 1))]))
    poison = assert_only_the_poison_suffers(await run(heavy, tasks(tmp_path, [1, POISON, 3])), [1, POISON, 3])
    assert poison.failure_class is FailureClass.MEMORY_EXCEEDED
    assert "its memory cap is 256 MiB" in poison.reason
    assert heavy.readings().restarts == {"MemoryExceeded": 3}
    assert light_pid is not None and light.pid == light_pid and not hanging.done()
    await light.kill()
    with pytest.raises(VoxFleetError, match="stopped"):
        await hanging


async def test_a_contracts_own_cap_holds_where_it_is_lower(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in({str(POISON): "grow:256"})
    spec = contract()
    capped = spec.model_copy(update={"batching": spec.batching.model_copy(update={"memory_cap": "256Mi"})})
    await lane.load(stand_in_model, transcribe_spec(capped))
    (verdict,) = await run(lane, tasks(tmp_path, [POISON]))
    assert verdict.failure_class is FailureClass.MEMORY_EXCEEDED and "256 MiB" in verdict.reason


async def test_a_child_that_leaks_is_recycled_between_batches(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in({"9": "leak:120"}, memory_cap_bytes=400 * 2**20, batch_size=1)
    await lane.load(stand_in_model, transcribe_spec())
    pid = lane.pid
    # There are more clips after the leak than a child has in flight: it finishes those before it is replaced.
    verdicts = by_index(await run(lane, tasks(tmp_path, [1, 2, 3, 9, *range(10, 10 + 2 * LANE_BATCHES)])))
    assert all(verdict.failure_class is None and verdict.retries == 0 for verdict in verdicts.values())
    assert lane.readings().restarts == {"Recycled": 1}
    assert lane.pid != pid


async def test_a_cut_transcript_is_tried_once_more_and_then_quarantined(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in({"2": "short-once", "3": "short"})
    await lane.load(stand_in_model, transcribe_spec())
    verdicts = by_index(await run(lane, tasks(tmp_path, [1, 2, 3, 4])))
    assert [(verdicts[n].text, verdicts[n].retries) for n in range(4)] == [
        ("clip 1", 0),
        ("clip 2", 1),
        (None, 1),
        ("clip 4", 0),
    ]
    assert verdicts[2].failure_class is FailureClass.TRUNCATED_OUTPUT
    assert verdicts[2].reason == "the model stopped at its token limit"


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
