"""Clients of warm endpoints with a stopwatch: turns that are committed, turns that silence ends, spoken lines.

Between two calls passes a moment in which a batch beside them gets to work again: each call has to make it give way.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import numpy as np
from tests.bench.failure import MeasurementFailed

from voxfleet_shared.percentile import percentile

ANSWER_SECONDS = 60.0
FRAME_SECONDS = 0.1
PACE = 5
"""So many times as fast as speech come the frames of a turn that is committed: five hundred at its pace take too long,
and a client that sends a turn at once measures how long its audio takes, not how long its end does."""
PACED_FRAME_SECONDS = 0.02
SAMPLE_BYTES = 2
SILENCE_SECONDS = 1.5
"""What a caller at the pace of speech sends behind its words: more than ends a turn."""
TURNS_A_SESSION = 25
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.3, 0.6
"""Before a call. Batches work again a quarter of a second after a turn."""
AUDIBLE = 328
"""One percent of full scale: what is softer is no speech."""
_TRANSCRIPTION = "conversation.item.input_audio_transcription"


@dataclass(frozen=True, slots=True)
class Utterance:
    """PCM16 of one channel."""

    pcm: bytes
    rate_hz: int

    @property
    def voiced_bytes(self) -> int:
        """Up to its last audible sample."""
        audible = np.flatnonzero(np.abs(np.frombuffer(self.pcm, dtype="<i2").astype(np.int32)) > AUDIBLE)
        return (int(audible[-1]) + 1) * SAMPLE_BYTES if len(audible) else len(self.pcm)

    def frames(self, seconds: float) -> list[bytes]:
        size = round(self.rate_hz * seconds) * SAMPLE_BYTES
        return [self.pcm[start : start + size] for start in range(0, len(self.pcm), size)]


@dataclass
class Latencies:
    """Of calls, in milliseconds; `failed`: of those without an answer, why."""

    milliseconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def record(self, milliseconds: float, text: str) -> None:
        self.milliseconds.append(milliseconds)
        self.texts.append(text)

    def percent(self, percent: int) -> float:
        """Raises MeasurementFailed where nothing was measured."""
        if not self.milliseconds:
            raise MeasurementFailed(f"no call had an answer: {self.failed[:3]}")
        return percentile(sorted(round(each * 1000) for each in self.milliseconds), percent) / 1000

    def __str__(self) -> str:
        told = ", ".join(f"p{percent} {self.percent(percent):.1f} ms" for percent in (50, 95, 99))
        failed = f"; {len(self.failed)} failed, first: {self.failed[0]}" if self.failed else ""
        return f"{told} of {len(self.milliseconds)}{failed}"


async def a_moment() -> None:
    await asyncio.sleep(random.uniform(SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS))  # noqa: S311 - no secret


async def due_frames(
    utterance: Utterance, frame_seconds: float = FRAME_SECONDS, pace: int = PACE
) -> AsyncIterator[bytes]:
    """Each when it is due; as those of a turn that is committed, unless it is said how."""
    due_seconds = time.perf_counter()
    for frame in utterance.frames(frame_seconds):
        due_seconds += frame_seconds / pace
        await asyncio.sleep(max(0.0, due_seconds - time.perf_counter()))
        yield frame


class HearingSession:
    """OpenAI's realtime socket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._told_seconds = 0.0

    async def turn(self, utterance: Utterance) -> tuple[float, str]:
        """Milliseconds from its last frame, with which it is committed, to the final text, and that text."""
        sent_seconds = 0.0
        async for frame in due_frames(utterance):
            sent_seconds = time.perf_counter()
            await self._append(frame)
        await self._socket.send_json({"type": "input_audio_buffer.commit"})
        text = await self._final_text()
        return (time.perf_counter() - sent_seconds) * 1000, text

    async def spoken_turn(self, utterance: Utterance) -> tuple[float, str]:
        """At the pace of speech, and ended by silence: milliseconds from its last audible sample to the final text."""
        silence = bytes(round(utterance.rate_hz * SILENCE_SECONDS) * SAMPLE_BYTES)
        whole = Utterance(utterance.pcm[: utterance.voiced_bytes] + silence, utterance.rate_hz)
        answer = asyncio.create_task(self._final_text())
        voiced_seconds = 0.0
        sent_bytes = 0
        async for frame in due_frames(whole, PACED_FRAME_SECONDS, pace=1):
            if sent_bytes < utterance.voiced_bytes:
                voiced_seconds = time.perf_counter()
            await self._append(frame)
            sent_bytes += len(frame)
        text = await answer
        return (self._told_seconds - voiced_seconds) * 1000, text

    async def _append(self, frame: bytes) -> None:
        audio = base64.b64encode(frame).decode()
        await self._socket.send_json({"type": "input_audio_buffer.append", "audio": audio})

    async def _final_text(self) -> str:
        async with asyncio.timeout(ANSWER_SECONDS):
            async for message in self._socket:
                told: Mapping[str, str] = json.loads(message.data)
                match told["type"].removeprefix(_TRANSCRIPTION):
                    case ".completed":
                        self._told_seconds = time.perf_counter()
                        return told["transcript"]
                    case ".failed" | "error":
                        raise MeasurementFailed(message.data)
        raise MeasurementFailed(f"the socket was closed with {self._socket.close_code}")


@asynccontextmanager
async def hearing_session(
    client: aiohttp.ClientSession, url: str, rate_hz: int, *, server_vad: bool = False
) -> AsyncIterator[HearingSession]:
    async with client.ws_connect(f"{url}/v1/realtime?intent=transcription") as socket:
        audio = {
            "format": {"type": "audio/pcm", "rate": rate_hz},
            "turn_detection": {"type": "server_vad"} if server_vad else None,
        }
        await socket.send_json(
            {"type": "session.update", "session": {"type": "transcription", "audio": {"input": audio}}}
        )
        async for message in socket:
            kind = json.loads(message.data)["type"]
            if kind == "session.updated":
                break
            if kind == "error":
                raise MeasurementFailed(message.data)
        yield HearingSession(socket)


async def final_texts(client: aiohttp.ClientSession, url: str, spoken: Sequence[Utterance], turns: int) -> Latencies:
    """Of turns that are committed, some in one session after the other."""
    found = Latencies()
    for first in range(0, turns, TURNS_A_SESSION):
        async with hearing_session(client, url, spoken[0].rate_hz) as session:
            for number in range(first, min(first + TURNS_A_SESSION, turns)):
                await a_moment()
                found.record(*await session.turn(spoken[number % len(spoken)]))
    return found


async def spoken_final_texts(
    client: aiohttp.ClientSession, url: str, spoken: Sequence[Utterance], turns: int
) -> Latencies:
    """Of turns at the pace of speech, whose end the endpoint finds."""
    found = Latencies()
    async with hearing_session(client, url, spoken[0].rate_hz, server_vad=True) as session:
        for number in range(turns):
            found.record(*await session.spoken_turn(spoken[number % len(spoken)]))
    return found


async def first_audio(client: aiohttp.ClientSession, url: str, text: str, calls: int) -> Latencies:
    """Of lines that are spoken to their end: from the request to the first byte of audio, without any header."""
    found = Latencies()
    body = {"model": url.rpartition("/")[2], "input": text, "stream": True, "response_format": "pcm"}
    for _ in range(calls):
        await a_moment()
        asked_seconds = time.perf_counter()
        async with asyncio.timeout(ANSWER_SECONDS), client.post(f"{url}/v1/audio/speech", json=body) as answer:
            if answer.status != 200:
                found.failed.append(f"{answer.status} {await answer.text()}")
                continue
            first = await answer.content.readany()
            found.milliseconds.append((time.perf_counter() - asked_seconds) * 1000)
            if not first:
                raise MeasurementFailed("a line was spoken without a sample")
            async for _ in answer.content.iter_any():
                pass
    return found
