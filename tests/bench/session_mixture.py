"""Sessions of many kinds with warm endpoints, as clients have them: in order, given up, and cut off."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from tests.bench.failure import MeasurementFailed
from tests.bench.socket_clients import Heard, Spoken, as_mlx_audio, as_openai

AGAIN_SECONDS = 0.1
FRAME_MILLISECONDS = 100
LINE = "The line is open."


class NoRoom(Exception):
    """The answer was 429."""


@dataclass
class Mixture:
    """`hears_url`, `speaks_url`: of the endpoints. `text`: what is heard of `spoken`, and of `recording`, a file."""

    client: aiohttp.ClientSession
    hears_url: str
    speaks_url: str
    spoken: Spoken
    recording: bytes
    text: str
    waited_for_room: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    """Sessions by kind."""

    async def one(self, number: int) -> None:
        """A session of the kind whose turn it is. Raises MeasurementFailed for one that did not end as it should."""
        kinds: tuple[Callable[[], Awaitable[None]], ...] = (
            *(self._stopped, self._committed, self._uploaded, self._upload_streamed, self._said),
            *(self._left, self._cleared, self._cut_off, self._upload_cut_off, self._listener_gone),
        )
        kind = kinds[number % len(kinds)]
        name = kind.__name__.strip("_")
        while True:
            try:
                await kind()
            except NoRoom:
                self.waited_for_room += 1
                await asyncio.sleep(AGAIN_SECONDS)
            except aiohttp.WSServerHandshakeError as error:
                if error.status != 429:
                    raise MeasurementFailed(f"{name}: {error.status} instead of an upgrade") from error
                self.waited_for_room += 1
                await asyncio.sleep(AGAIN_SECONDS)
            except (TimeoutError, aiohttp.ClientError) as error:
                raise MeasurementFailed(f"{name}: {type(error).__name__}: {error}") from error
            else:
                self.ended[name] = self.ended.get(name, 0) + 1
                return

    async def _stopped(self) -> None:
        self._check(await as_mlx_audio(self.client, self.hears_url, self.spoken, self._frame_bytes))

    async def _committed(self) -> None:
        self._check(await as_openai(self.client, self.hears_url, self.spoken, self._frame_bytes))

    async def _uploaded(self) -> None:
        async with self._upload(self.recording) as answer:
            self._same((await answer.json())["text"])

    async def _upload_streamed(self) -> None:
        async with self._upload(self.recording, stream="true") as answer:
            self._same("".join([_text(line) async for line in answer.content]))

    async def _said(self) -> None:
        async with self._speech() as answer:
            if len(await answer.read()) < 1000:
                raise MeasurementFailed("a text was spoken in less than a thousand bytes")

    async def _left(self) -> None:
        """In the middle of its speech, with a close frame."""
        async with self._half_said():
            pass

    async def _cleared(self) -> None:
        async with self.client.ws_connect(f"{self.hears_url}/v1/realtime?intent=transcription") as opened:
            rate = {"type": "audio/pcm", "rate": self.spoken.rate_hz}
            audio = {"input": {"format": rate, "turn_detection": None}}
            await opened.send_json({"type": "session.update", "session": {"type": "transcription", "audio": audio}})
            frame = base64.b64encode(self.spoken.pcm[: self._frame_bytes]).decode()
            await opened.send_json({"type": "input_audio_buffer.append", "audio": frame})
            await opened.send_json({"type": "input_audio_buffer.clear"})
            async with asyncio.timeout(30):
                while (await opened.receive_json())["type"] != "input_audio_buffer.cleared":
                    pass

    async def _cut_off(self) -> None:
        """In the middle of its speech, without a word."""
        async with self._half_said() as opened:
            opened.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    async def _upload_cut_off(self) -> None:
        async def half() -> AsyncIterator[bytes]:
            yield self.recording[: len(self.recording) // 2]
            raise _CutOff

        try:
            async with self._upload(half()):
                pass
        except (_CutOff, aiohttp.ClientError):
            return
        raise MeasurementFailed("half of a recording was answered")

    async def _listener_gone(self) -> None:
        async with self._speech() as answer:
            await answer.content.readany()
            answer.close()

    @asynccontextmanager
    async def _half_said(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A session that has been told half of what is spoken."""
        async with self.client.ws_connect(f"{self.hears_url}/v1/audio/transcriptions/realtime") as opened:
            await opened.send_json({"sample_rate": self.spoken.rate_hz, "streaming": True})
            await opened.receive_json()
            frames = self.spoken.frames(self._frame_bytes)
            for frame in frames[: len(frames) // 2]:
                await opened.send_bytes(frame)
            yield opened

    @asynccontextmanager
    async def _upload(
        self, content: bytes | AsyncIterator[bytes], **fields: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        form = aiohttp.FormData({"model": "captions", **fields})
        form.add_field("file", content, filename="clip.wav", content_type="audio/wav")
        async with self.client.post(f"{self.hears_url}/v1/audio/transcriptions", data=form) as answer:
            _check_status(answer)
            yield answer

    @asynccontextmanager
    async def _speech(self) -> AsyncIterator[aiohttp.ClientResponse]:
        body = {"model": "announcements", "input": LINE, "stream": True, "response_format": "wav"}
        async with self.client.post(f"{self.speaks_url}/v1/audio/speech", json=body) as answer:
            _check_status(answer)
            yield answer

    @property
    def _frame_bytes(self) -> int:
        return self.spoken.frame_bytes(FRAME_MILLISECONDS)

    def _check(self, heard: Heard) -> None:
        if heard.error or heard.close_code != 1000 or heard.text != self.text:
            raise MeasurementFailed(f"a session heard {heard} instead of {self.text!r}")

    def _same(self, text: str) -> None:
        if text != self.text:
            raise MeasurementFailed(f"an upload was heard as {text!r} instead of {self.text!r}")


class _CutOff(Exception):
    pass


def _check_status(answer: aiohttp.ClientResponse) -> None:
    if answer.status == 429:
        raise NoRoom
    if answer.status != 200:
        raise MeasurementFailed(f"{answer.method} {answer.url.path}: {answer.status}")


def _text(line: bytes) -> str:
    text: str = json.loads(line)["text"]
    return text
