"""Calls of an endpoint's HTTP and WebSocket, as OpenAI's and mlx-audio's clients make them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.http_exceptions import LineTooLong

from voxfleet_cli.speech.endpoint_access import EndpointAccess
from voxfleet_cli.speech.gateway_errors import GatewayLost, late_failure, refused
from voxfleet_cli.speech.transcript_cues import Piece

CONNECT_SECONDS = 10.0
MAX_ANSWER_BYTES = 64 * 2**20
"""Of a whole transcript."""
MAX_ERROR_BYTES = 64 * 1024
MAX_LINE_BYTES = 4 * 2**20
"""Of a streamed transcript: an hour that no window cuts is one line."""
MAX_SOCKET_MESSAGE_BYTES = 2**20
HEARTBEAT_SECONDS = 60.0
"""A gateway does not read on while the lane has enough to hear, and answers no ping meanwhile."""
_ENDED_IN_ORDER = 1000
_ENDS = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


@dataclass(frozen=True, slots=True)
class Recording:
    """The bytes of a file, as they are read."""

    content: AsyncIterator[bytes]
    extension: str = "wav"
    """All that the gateway learns of the file's name."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole one. `parts_milliseconds`: where the time went, as the gateway says in Server-Timing."""

    text: str
    parts_milliseconds: Mapping[str, float]


class GatewayClient:
    """Of one endpoint. Calls raise GatewayRefused and GatewayLost, and no other errors of the network."""

    def __init__(self, access: EndpointAccess, silence_seconds: float) -> None:
        """`silence_seconds`: how long the gateway may say nothing while an answer is awaited."""
        self._url = access.url
        headers = {} if access.key is None else {"Authorization": f"Bearer {access.key}"}
        timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=silence_seconds)
        # aiohttp reads lines of up to twice as much.
        self._http = aiohttp.ClientSession(headers=headers, timeout=timeout, read_bufsize=MAX_LINE_BYTES // 2)
        self._silence_seconds = silence_seconds

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def transcript(self, recording: Recording, response_format: str, language: str | None) -> Answer:
        """The whole transcript, in one of OpenAI's formats."""
        async with self._transcription(recording, {"response_format": response_format}, language) as answer:
            text = await _whole(answer)
            return Answer(text, server_timing(answer.headers.get("Server-Timing", "")))

    async def transcript_pieces(self, recording: Recording, language: str | None) -> AsyncIterator[Piece]:
        """The transcript as it is made."""
        whole = False
        async with self._transcription(recording, {"stream": "true"}, language) as answer:
            with _as_lost():
                async for line in _lines(answer.content):
                    content = _object(line)
                    whole = content.get("is_final") is True
                    yield _piece(content)
        if not whole:
            raise GatewayLost("the answer broke off before its end; what came of it is not whole")

    @asynccontextmanager
    async def speech(self, request: Mapping[str, object]) -> AsyncIterator[Speech]:
        """The speech of a text; leaving the context early cancels it."""
        async with self._answer("v1/audio/speech", json=dict(request)) as answer:
            yield Speech(answer)

    async def live_pieces(
        self, audio: AsyncIterator[bytes], rate_hz: int, language: str | None
    ) -> AsyncIterator[Piece]:
        """What is said while it is said. `audio`: PCM16 of one channel; its end ends the session, after its text."""
        url = f"{self._url}/v1/audio/transcriptions/realtime"
        config = {"sample_rate": rate_hz, "streaming": True, **({} if language is None else {"language": language})}
        with _as_lost():
            try:
                socket = await self._http.ws_connect(
                    url, heartbeat=HEARTBEAT_SECONDS, max_msg_size=MAX_SOCKET_MESSAGE_BYTES
                )
            except aiohttp.WSServerHandshakeError as error:
                retry_after = None if error.headers is None else error.headers.get("Retry-After")
                raise refused(error.status, b"", retry_after) from error
            async with socket:
                await socket.send_json(config)
                sending: asyncio.Task[None] | None = None
                try:
                    while (message := await self._message(socket, sending)).type not in _ENDS:
                        content = _object(message.data) if message.type is aiohttp.WSMsgType.TEXT else {}
                        if content.get("status") == "ready" and sending is None:
                            sending = asyncio.create_task(_send(socket, audio))
                        elif failure := late_failure(content):
                            raise failure
                        elif piece := _live_piece(content):
                            yield piece
                finally:
                    if sending is not None:
                        sending.cancel()
                        await asyncio.wait([sending])
                if sending is not None and not sending.cancelled():
                    sending.result()  # the microphone's own error
                if socket.close_code != _ENDED_IN_ORDER:
                    raise GatewayLost(f"the session was lost (close code {socket.close_code}); start it again")

    async def _message(
        self, socket: aiohttp.ClientWebSocketResponse, sending: asyncio.Task[None] | None
    ) -> aiohttp.WSMessage:
        """The next one. While audio is sent it may take any time; else TimeoutError once the gateway was silent."""
        receiving = asyncio.create_task(socket.receive())
        try:
            if sending is not None:
                await asyncio.wait([receiving, sending], return_when=asyncio.FIRST_COMPLETED)
            return await asyncio.wait_for(receiving, self._silence_seconds)
        finally:
            receiving.cancel()

    @asynccontextmanager
    async def _transcription(
        self, recording: Recording, fields: Mapping[str, str], language: str | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        form = aiohttp.FormData(quote_fields=False)
        for name, value in {**fields, **({} if language is None else {"language": language})}.items():
            form.add_field(name, value)
        form.add_field(
            "file", recording.content, filename=f"audio.{recording.extension}", content_type="application/octet-stream"
        )
        async with self._answer("v1/audio/transcriptions", data=form) as answer:
            yield answer

    @asynccontextmanager
    async def _answer(
        self,
        path: str,
        *,
        json: Mapping[str, object] | None = None,
        data: aiohttp.FormData | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        with _as_lost():
            answer = await self._http.post(f"{self._url}/{path}", json=json, data=data, allow_redirects=False)
        async with answer:
            if answer.status != HTTPStatus.OK:
                with _as_lost():
                    body = await answer.content.read(MAX_ERROR_BYTES)
                raise refused(answer.status, body, answer.headers.get("Retry-After"))
            yield answer


class Speech:
    """The bytes of a file of speech, as they come."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self.parts_milliseconds = server_timing(answer.headers.get("Server-Timing", ""))

    async def chunks(self) -> AsyncIterator[bytes]:
        with _as_lost():
            async for chunk in self._answer.content.iter_any():
                yield chunk


def server_timing(header: str) -> dict[str, float]:
    """`gateway;dur=1.5, infer;dur=80` as milliseconds by name; what it does not understand it leaves out."""
    found: dict[str, float] = {}
    for entry in header.split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key == "dur" and value.replace(".", "", 1).isdigit():
                found[name] = float(value)
    return found


@contextmanager
def _as_lost() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise GatewayLost("the gateway did not answer in time") from error
    except aiohttp.ClientPayloadError as error:
        raise GatewayLost("the answer broke off before its end; what came of it is not whole") from error
    except (aiohttp.ClientError, OSError) as error:
        raise GatewayLost(f"the gateway cannot be reached, or hung up ({type(error).__name__})") from error


async def _whole(answer: aiohttp.ClientResponse) -> str:
    content = bytearray()
    with _as_lost():
        async for chunk in answer.content.iter_any():
            content += chunk
            if len(content) > MAX_ANSWER_BYTES:
                raise GatewayLost(f"the answer is longer than {MAX_ANSWER_BYTES // 2**20} MiB; write --stream")
    return content.decode(errors="replace")


async def _send(socket: aiohttp.ClientWebSocketResponse, audio: AsyncIterator[bytes]) -> None:
    """Asks for the rest of the text at the end of the audio, also where that ends with an error."""
    try:
        async for frame in audio:
            await socket.send_bytes(frame)
    finally:
        if not socket.closed:
            await socket.send_json({"action": "stop"})


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Those that hold something."""
    while True:
        try:
            line = await content.readline()
        except LineTooLong:  # it quotes the line
            raise GatewayLost(f"a line of the answer is longer than {MAX_LINE_BYTES // 2**20} MiB") from None
        if not line:
            return
        if stripped := line.strip():
            yield stripped


def _piece(content: Mapping[str, object]) -> Piece:
    if failure := late_failure(content):
        raise failure
    end = _seconds(content, "end")
    return Piece(_text(content, "text"), _seconds(content, "start"), end, ends_turn=end is not None)


def _live_piece(content: Mapping[str, object]) -> Piece | None:
    """Deltas add up to a turn's text; its end says when it was spoken, where the endpoint knows."""
    kind = content.get("type")
    if kind == "delta":
        return Piece(_text(content, "delta"), ends_turn=False)
    if kind == "complete":
        return Piece("", _seconds(content, "start"), _seconds(content, "end"))
    return None


def _object(text: str | bytes) -> dict[str, object]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise GatewayLost("the answer is no JSON; is --url the address of an endpoint?") from error
    return content if isinstance(content, dict) else {}


def _text(content: Mapping[str, object], name: str) -> str:
    value = content.get(name)
    return value if isinstance(value, str) else ""


def _seconds(content: Mapping[str, object], name: str) -> float | None:
    value = content.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
