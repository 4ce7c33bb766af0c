"""The messages between a lane and its child, and when they are received."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
from tests.component.lanes.lane_rig import MakeLane, load_request, run, synthesize_spec, tasks, transcribe_spec

from voxfleet_agent.lane_protocol.channel import frame
from voxfleet_agent.lane_protocol.messages import BatchDone, DecodingClip, HeardAudio, InferringClips
from voxfleet_agent.lanes.child_process import ChildEndedError, ChildProcess
from voxfleet_agent.lanes.hang_detection import HangTimeouts
from voxfleet_agent.lanes.lane_types import ClipTask
from voxfleet_agent.models.resolved_model import ResolvedModel

pytestmark = pytest.mark.asyncio(loop_scope="module")
DAMAGED, WAITED_ON = -1, -2


async def start(tmp_path: Path, program: str) -> ChildProcess:
    return await ChildProcess.start((sys.executable, "-c", program), tmp_path / "lane", dict(os.environ), 2**30, None)


async def test_answers_of_a_child_are_received_before_its_end(tmp_path: Path) -> None:
    said = [frame(BatchDone(number=number, footprint_bytes=0)) for number in (1, 2)]
    program = f"import os; os.close(0); [os.write(1, message) for message in {said!r}]; raise SystemExit(7)"
    child = await start(tmp_path, program)
    try:
        answers = [await child.receive()]
        for _ in range(3):  # nobody reads them: the child has closed its end of the pipe
            child.send(load_request(tmp_path))
        answers.append(await child.receive())
        assert [answer.number for answer in answers if isinstance(answer, BatchDone)] == [1, 2]
        with pytest.raises(ChildEndedError, match="7"):
            await child.receive()
    finally:
        await child.end()


async def test_a_verdict_does_not_wait_for_what_the_decoder_meets_next(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in(timeouts=HangTimeouts(decoding_seconds=1.0, decoding_cpu_seconds=0))
    await lane.load(stand_in_model, transcribe_spec())

    async def feed() -> AsyncIterator[Sequence[ClipTask]]:
        yield tasks(tmp_path, [DAMAGED, WAITED_ON])

    async with aclosing(lane.work(feed())) as verdicts:
        first = await anext(verdicts)
        assert first.index == 0 and lane.readings().restarts == {}, "it came while the child was still waiting"
        second = await anext(verdicts)
        assert second.index == 1 and lane.readings().restarts != {}


async def test_an_announcement_counts_as_activity(tmp_path: Path) -> None:
    said, done = frame(DecodingClip(index=3)), frame(BatchDone(number=1, footprint_bytes=0))
    child = await start(tmp_path, f"import os; os.write(1, {said!r}); os.read(0, 1); os.write(1, {done!r})")
    began = asyncio.get_running_loop().time()
    answer = asyncio.create_task(child.receive())
    try:
        async with asyncio.timeout(30):
            while child.decoding is None:  # noqa: ASYNC110 - an announcement sets it without any event
                await asyncio.sleep(0)
            assert child.last_received_seconds >= began and not answer.done()
            child.send(load_request(tmp_path))
            assert isinstance(await answer, BatchDone)
    finally:
        answer.cancel()
        await child.end()


async def test_a_text_tells_how_much_of_it_is_spoken(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in()
    await lane.load(stand_in_model, synthesize_spec())
    told: list[int] = []
    (verdict,) = await run(lane, [ClipTask(0, tmp_path / "0.wav", text="x", max_bytes=2**20, heard=told.append)])
    assert verdict.failure_class is None and told == [100, 150]


async def test_progress_within_a_clip_counts_as_activity_and_shows_the_models_pace(tmp_path: Path) -> None:
    announced = frame(InferringClips(indexes=(3,), audio_milliseconds=1000, tells_progress=True))
    said = frame(HeardAudio(index=3, audio_milliseconds=500))
    child = await start(tmp_path, f"import os; os.write(1, {announced!r}); os.read(0, 1); os.write(1, {said!r})")
    answer = asyncio.create_task(child.receive())
    try:
        async with asyncio.timeout(30):
            while not child.inferring:  # noqa: ASYNC110 - an announcement sets it without any event
                await asyncio.sleep(0)
            announced_at = child.last_received_seconds
            child.send(load_request(tmp_path))
            assert isinstance(await answer, HeardAudio)
        assert child.tells_progress and child.last_received_seconds > announced_at
        assert child.pace.slowest_seconds == child.last_received_seconds - announced_at
    finally:
        answer.cancel()
        await child.end()


async def test_a_backlog_of_announcements_leaves_others_their_turn(tmp_path: Path) -> None:
    many, done = frame(DecodingClip(index=3)) * 2_000, frame(BatchDone(number=1, footprint_bytes=0))
    child = await start(tmp_path, f"import os; os.write(1, {many + done!r}); os.read(0, 1)")
    answer = asyncio.create_task(child.receive())
    turns = 0
    try:
        async with asyncio.timeout(30):
            while not answer.done():
                await asyncio.sleep(0)
                turns += child.decoding is not None
        assert turns > 1_000
    finally:
        answer.cancel()
        await child.end()


async def test_a_child_has_ended_even_if_another_process_holds_its_channel_open(tmp_path: Path) -> None:
    # The forked process lives until the lane closes its end of the pipe.
    child = await start(tmp_path, "import os; os.fork() or (os.close(2), os.read(0, 1), os._exit(0)); os._exit(7)")
    try:
        async with asyncio.timeout(30):
            with pytest.raises(ChildEndedError, match="7"):
                await child.receive()
    finally:
        await child.end()


async def test_a_stopped_child_with_more_requests_than_a_pipe_holds_is_killed(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in(batch_size=8, timeouts=HangTimeouts(inferring_seconds=0.5))
    await lane.load(stand_in_model, synthesize_spec())
    assert lane.pid is not None
    os.kill(lane.pid, signal.SIGSTOP)
    clips = [ClipTask(index, tmp_path / f"{index}.wav", text="x" * 20_000, max_bytes=2**20) for index in range(32)]
    async with asyncio.timeout(60):
        verdicts = await run(lane, *[clips[start : start + 8] for start in range(0, 32, 8)])
    assert sorted((verdict.index, verdict.failure_class, verdict.retries) for verdict in verdicts) == [
        (index, None, 0) for index in range(32)
    ]
    assert lane.readings().restarts == {"LaneCrashed": 1}


async def test_an_end_after_the_batch_costs_no_transcribed_clip(
    stand_in: MakeLane, stand_in_model: ResolvedModel, tmp_path: Path
) -> None:
    lane = stand_in({"2": "rest:abort"}, batch_size=4)
    await lane.load(stand_in_model, transcribe_spec())
    verdicts = await run(lane, tasks(tmp_path, [1, 2, 3]))
    assert sorted((verdict.text, verdict.retries) for verdict in verdicts) == [
        ("clip 1", 0),
        ("clip 2", 0),
        ("clip 3", 0),
    ]
    assert lane.readings().restarts == {"LaneCrashed": 1}
