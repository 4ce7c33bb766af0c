"""Sessions in a real child with the built-in model: what is heard, two at once, and a child that is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import wave
from pathlib import Path

import pytest
from tests.component.lanes.lane_rig import END_SECONDS, Examples, contract, transcribe_spec

from voxfleet_agent.lane_protocol.session_messages import OpenHearing, SessionEnded, TextDelta, TurnDone
from voxfleet_agent.lanes import warm_up_clip
from voxfleet_agent.lanes.interactive_lane import InteractiveLane
from voxfleet_agent.lanes.lane_session import HearingSession
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.failures import FailureClass

FRAME_BYTES = 3_200
"""100 ms."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


def pcm_of(examples: Examples) -> tuple[bytes, str]:
    """A clip that needs no conversion, and its text."""
    for path, text, failure_class in examples.values():
        if text and failure_class is None and path.suffix == ".wav":
            with wave.open(str(path)) as clip:
                if (clip.getframerate(), clip.getnchannels(), clip.getsampwidth()) == (16_000, 1, 2):
                    return clip.readframes(clip.getnframes()), text
    raise AssertionError("no example is 16 kHz, mono and PCM16")


def opened(lane: InteractiveLane) -> HearingSession:
    return lane.open_hearing(
        OpenHearing(session=0, sample_rate_hz=16_000, partial_milliseconds=500, max_turn_milliseconds=30_000)
    )


Heard = tuple[str, str, FailureClass | None]


async def heard(session: HearingSession, pcm: bytes) -> Heard:
    """(the text of all turns, all deltas, how the session ended)."""
    for start in range(0, len(pcm), FRAME_BYTES):
        session.send_audio(pcm[start : start + FRAME_BYTES])
    session.end()
    async with asyncio.timeout(END_SECONDS):
        events = [event async for event in session.events()]
    last = events[-1]
    assert isinstance(last, SessionEnded)
    texts = [event.text for event in events if isinstance(event, TurnDone)]
    deltas = [event.text for event in events if isinstance(event, TextDelta)]
    return "".join(texts), "".join(deltas), last.failure_class


async def test_two_sessions_are_heard_and_a_killed_child_costs_only_its_own(
    tmp_path: Path, model: ResolvedModel, example_clips: Examples
) -> None:
    pcm, text = pcm_of(example_clips)
    lane = InteractiveLane("live-0", tmp_path / "live-0", memory_cap_bytes=3 * 2**30)
    try:
        loaded = await lane.load(model, transcribe_spec())
        assert loaded.sample_rate_hz == 16_000
        one, other = await asyncio.gather(heard(opened(lane), pcm), heard(opened(lane), pcm))
        expected: Heard = (text, text, None)
        assert one == other == expected
        open_one, before = opened(lane), lane.pid
        open_one.send_audio(pcm[:FRAME_BYTES])
        assert before is not None
        os.kill(before, signal.SIGKILL)
        last = [event async for event in open_one.events()][-1]
        assert isinstance(last, SessionEnded) and last.failure_class is FailureClass.GPU_ABORT_OUT_OF_MEMORY
        async with asyncio.timeout(2 * END_SECONDS):
            while lane.pid in (None, before):  # noqa: ASYNC110 -- it waits for a process
                await asyncio.sleep(0.01)
        assert await heard(opened(lane), pcm) == expected
    finally:
        await lane.kill()


async def test_a_contract_that_does_not_accept_the_models_rate_gets_a_warm_lane(
    tmp_path: Path, model: ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    made = warm_up_clip.voice_like_pcm

    def noted(rate_hz: int, milliseconds: int) -> bytes:
        threads.append(threading.current_thread())
        return made(rate_hz, milliseconds)

    monkeypatch.setattr(warm_up_clip, "voice_like_pcm", noted)
    lane = InteractiveLane("live-0", tmp_path / "live-0", memory_cap_bytes=3 * 2**30)
    try:
        await lane.load(model, transcribe_spec(contract(sample_rates_hz=(24_000,))))
        assert lane.warm
    finally:
        await lane.kill()
    assert threads and threading.main_thread() not in threads  # the loop serves other lanes meanwhile
