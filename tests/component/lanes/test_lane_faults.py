"""A clip that raises, crashes, or takes too much memory or GPU costs no other clip of the lane anything.

The worker is real, its model is a stand-in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
from tests.component.lanes.lane_rig import (
    METAL,
    OUT_OF_MEMORY,
    POISON,
    TIMEOUT,
    MakeLane,
    assert_only_the_poison_suffers,
    by_index,
    contract,
    run,
    tasks,
    tone,
    transcribe_spec,
)

from voxfleet_agent.lanes.lane_types import LANE_BATCHES, ClipTask, ClipVerdict
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.failures import RULES, FailureClass, Remedy, VoxFleetError

pytestmark = pytest.mark.asyncio(loop_scope="module")

INTERACTIVITY = METAL.format(what="Impacting Interactivity", code=14, name="ImpactingInteractivity")
VICTIM = METAL.format(what="Innocent Victim of GPU Error/Recovery", code=5, name="InnocentVictim")


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
