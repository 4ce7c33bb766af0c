"""Clients of an endpoint's two sockets: what one says, in frames of a size and at a pace, and what it is told."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
import wave
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

SAMPLE_BYTES = 2
ANSWER_SECONDS = 60.0
_TRANSCRIPTION = "conversation.item.input_audio_transcription"


@dataclass(frozen=True, slots=True)
class Spoken:
    """PCM16 of one channel."""

    name: str
    pcm: bytes
    rate_hz: int

    def frames(self, frame_bytes: int) -> list[bytes]:
        return [self.pcm[start : start + frame_bytes] for start in range(0, len(self.pcm), frame_bytes)]

    def wav(self) -> bytes:
        content = io.BytesIO()
        with wave.open(content, "wb") as opened:
            opened.setnchannels(1)
            opened.setsampwidth(SAMPLE_BYTES)
            opened.setframerate(self.rate_hz)
            opened.writeframes(self.pcm)
        return content.getvalue()

    def frame_bytes(self, milliseconds: int) -> int:
        return self.rate_hz * milliseconds // 1000 * SAMPLE_BYTES


@dataclass(frozen=True, slots=True)
class Heard:
    deltas: str
    text: str
    first_delta_seconds: float | None
    """From the first frame on."""
    close_code: int | None
    error: str = ""
    last_text_seconds: float | None = None
    """From its last frame on."""


class _Progress:
    def __init__(self) -> None:
        self.deltas: list[str] = []
        self.texts: list[str] = []
        self.errors: list[str] = []
        self.began_seconds = time.monotonic()
        self.first_delta_seconds: float | None = None
        self.sent_seconds: float | None = None
        self.last_text_seconds: float | None = None

    def delta(self, text: str) -> None:
        if text and self.first_delta_seconds is None:
            self.first_delta_seconds = time.monotonic() - self.began_seconds
        self.deltas.append(text)

    def sends_last(self) -> None:
        self.sent_seconds = time.monotonic()

    def text(self, text: str) -> None:
        self.texts.append(text)
        if self.sent_seconds is not None:
            self.last_text_seconds = time.monotonic() - self.sent_seconds

    def heard(self, close_code: int | None) -> Heard:
        text, error = "".join(self.texts), "; ".join(self.errors)
        return Heard("".join(self.deltas), text, self.first_delta_seconds, close_code, error, self.last_text_seconds)


async def as_mlx_audio(
    client: aiohttp.ClientSession,
    url: str,
    spoken: Spoken,
    frame_bytes: int,
    *,
    at_pace: bool = False,
    model: str | None = None,
) -> Heard:
    """Until the server closes the socket. `model`: None for an endpoint, which has one. Raises TimeoutError."""
    async with asyncio.timeout(ANSWER_SECONDS), client.ws_connect(f"{url}/v1/audio/transcriptions/realtime") as socket:
        named = {} if model is None else {"model": model}
        await socket.send_json({**named, "sample_rate": spoken.rate_hz, "streaming": True})
        first: Mapping[str, str] = await socket.receive_json()
        if first.get("status") != "ready":
            return Heard("", "", None, socket.close_code, json.dumps(first))
        progress = _Progress()

        async def say() -> None:
            with suppress(ConnectionError):  # the gateway closes, and says why
                await _in_frames(spoken, frame_bytes, socket.send_bytes, at_pace=at_pace)
                progress.sends_last()
                await socket.send_json({"action": "stop"})

        async with asyncio.TaskGroup() as group:
            group.create_task(say())
            async for message in socket:
                told: Mapping[str, str] = json.loads(message.data)
                match told.get("type"):
                    case "delta":
                        progress.delta(told["delta"])
                    case "complete":
                        progress.text(told["text"])
                    case _:
                        progress.errors.append(message.data)
        return progress.heard(socket.close_code)


async def as_openai(
    client: aiohttp.ClientSession, url: str, spoken: Spoken, frame_bytes: int, *, at_pace: bool = False
) -> Heard:
    """One turn, which the client commits. Raises TimeoutError."""
    where = f"{url}/v1/realtime?intent=transcription"
    async with asyncio.timeout(ANSWER_SECONDS), client.ws_connect(where) as socket:
        audio = {"format": {"type": "audio/pcm", "rate": spoken.rate_hz}, "turn_detection": None}
        session = {"type": "transcription", "audio": {"input": audio}}
        await socket.send_json({"type": "session.update", "session": session})
        progress = _Progress()

        async def append(frame: bytes) -> None:
            await socket.send_json({"type": "input_audio_buffer.append", "audio": base64.b64encode(frame).decode()})

        async def say() -> None:
            with suppress(ConnectionError):
                await _in_frames(spoken, frame_bytes, append, at_pace=at_pace)
                progress.sends_last()
                await socket.send_json({"type": "input_audio_buffer.commit"})

        async with asyncio.TaskGroup() as group:
            group.create_task(say())
            async for message in socket:
                told: Mapping[str, str] = json.loads(message.data)
                match told["type"].removeprefix(_TRANSCRIPTION):
                    case ".delta":
                        progress.delta(told["delta"])
                    case ".completed":
                        progress.text(told["transcript"])
                        break
                    case ".failed" | "error":
                        progress.errors.append(message.data)
                        break
    return progress.heard(1000)


async def _in_frames(
    spoken: Spoken, frame_bytes: int, send: Callable[[bytes], Awaitable[None]], *, at_pace: bool
) -> None:
    seconds = frame_bytes / SAMPLE_BYTES / spoken.rate_hz
    next_seconds = time.monotonic()
    for frame in spoken.frames(frame_bytes):
        if at_pace:
            next_seconds += seconds
            await asyncio.sleep(max(0.0, next_seconds - time.monotonic()))
        await send(frame)
