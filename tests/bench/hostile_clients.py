"""Clients that do harm, by intent or not: what each does, and what the documentation says that it is answered.

The tables of docs/how-to: stream-speech.md for sockets, use-speech-over-http.md and serve-speech.md for HTTP.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
from tests.bench.socket_clients import Spoken, as_mlx_audio

MLX_AUDIO, OPENAI = "/v1/audio/transcriptions/realtime", "/v1/realtime"
TRANSCRIPTIONS, SPEECH = "/v1/audio/transcriptions", "/v1/audio/speech"
PASSWORDS = "/etc/passwd"
EVIL_ORIGIN = "https://evil.example"
FRAME_BYTES = 16 * 2**20
LONG_TEXT = "word " * 20_000
DRIP_SECONDS = 0.05
SMALL_BUFFER_BYTES = 4096
TIMES_ALLOWED = 10
GIVEN_UP = "cut off"


@dataclass(frozen=True, slots=True)
class Answered:
    """`told`: status or close code. `seconds`: until then, from when the client did what is wrong."""

    told: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Hostile:
    name: str
    documented: str
    act: Callable[[], Awaitable[Answered]]


class HostileClients:
    """`hears_url`, `speaks_url`: of the endpoints. `allowed`: sessions of the one that hears."""

    def __init__(self, hears_url: str, speaks_url: str, key: str, spoken: Spoken, allowed: int) -> None:
        self._hears = hears_url
        self._speaks = speaks_url
        self._key = key
        self._spoken = spoken
        self._allowed = allowed

    def all(self) -> list[Hostile]:
        """All but those who take every place: `crowd`."""
        form, text = {"model": "captions"}, {"model": "announcements", "input": "a"}
        return [
            Hostile("wrong key, upload", "401", lambda: self._form(form, b"RIFF", key="x" * 43)),
            Hostile("wrong key, text", "401", lambda: self._text(text, key="x" * 43)),
            Hostile("wrong key, socket", "401", lambda: self._upgrade(MLX_AUDIO, key="x" * 43)),
            Hostile("foreign Origin, upload", "403", lambda: self._form(form, b"RIFF", origin=EVIL_ORIGIN)),
            Hostile("foreign Origin, socket", "403", lambda: self._upgrade(OPENAI, origin=EVIL_ORIGIN)),
            Hostile("model: /etc/passwd, upload", "404", lambda: self._form({"model": PASSWORDS}, b"RIFF")),
            Hostile("model: /etc/passwd, text", "404", lambda: self._text({**text, "model": PASSWORDS})),
            Hostile("model: /etc/passwd, query", "404", lambda: self._upgrade(f"{OPENAI}?model={PASSWORDS}")),
            Hostile("model: /etc/passwd, config", "1008", lambda: self._config({"model": PASSWORDS})),
            Hostile("ref_audio: /etc/passwd, upload", "400", lambda: self._form({"ref_audio": PASSWORDS}, b"RIFF")),
            Hostile("ref_audio: /etc/passwd, text", "400", lambda: self._text({**text, "ref_audio": PASSWORDS})),
            Hostile("frame of 16 MiB, mlx-audio", "1009", lambda: self._large_frame(MLX_AUDIO)),
            Hostile("frame of 16 MiB, openai", "1009", lambda: self._large_frame(OPENAI)),
            Hostile("odd bytes", "1000", self._odd_bytes),
            Hostile("bad base64", "error, and goes on", self._bad_base64),
            Hostile("no text in a text frame", "1007", self._no_text),
            Hostile("slow upload", "408", self._slow_upload),
            Hostile("never reads", GIVEN_UP, self._never_reads),
            Hostile("half-open socket", GIVEN_UP, self._half_open),
            Hostile("empty file", "400", lambda: self._form(form, b"")),
            Hostile("no audio in a file", "422", lambda: self._form(form, b"RIFF" + bytes(1000))),
            Hostile("100,000 characters", "400", lambda: self._text({**text, "input": LONG_TEXT})),
        ]

    async def crowd(self) -> list[Answered]:
        """Ten times as many sockets as there are places, all at once; who gets in says something and leaves."""
        return list(await asyncio.gather(*(self._one_of_many() for _ in range(TIMES_ALLOWED * self._allowed))))

    async def _one_of_many(self) -> Answered:
        async with self._client() as client:
            began = time.monotonic()
            try:
                heard = await as_mlx_audio(client, self._hears, self._spoken, self._spoken.frame_bytes(100))
            except aiohttp.WSServerHandshakeError as error:
                retry = error.headers is not None and "Retry-After" in error.headers
                return Answered(f"{error.status}{'' if retry else ' without Retry-After'}", time.monotonic() - began)
            return Answered(str(heard.close_code), time.monotonic() - began)

    async def _form(
        self, fields: dict[str, str], content: bytes, *, key: str | None = None, origin: str | None = None
    ) -> Answered:
        form = aiohttp.FormData(fields)
        form.add_field("file", content, filename="a.wav", content_type="audio/wav")
        async with self._client(key, origin) as client:
            began = time.monotonic()
            async with client.post(self._hears + TRANSCRIPTIONS, data=form) as answer:
                return Answered(str(answer.status), time.monotonic() - began)

    async def _text(self, body: dict[str, str], *, key: str | None = None) -> Answered:
        async with self._client(key) as client:
            began = time.monotonic()
            async with client.post(self._speaks + SPEECH, json=body) as answer:
                return Answered(str(answer.status), time.monotonic() - began)

    async def _upgrade(self, path: str, *, key: str | None = None, origin: str | None = None) -> Answered:
        async with self._client(key, origin) as client:
            began = time.monotonic()
            try:
                async with client.ws_connect(self._hears + path):
                    return Answered("101", time.monotonic() - began)
            except aiohttp.WSServerHandshakeError as error:
                return Answered(str(error.status), time.monotonic() - began)

    async def _config(self, config: dict[str, str]) -> Answered:
        async with self._socket(MLX_AUDIO) as opened:
            began = time.monotonic()
            await opened.send_json(config)
            return await _closed(opened, began)

    async def _large_frame(self, path: str) -> Answered:
        async with self._socket(path) as opened:
            if path == MLX_AUDIO:
                await opened.send_json({"sample_rate": self._spoken.rate_hz})
            began = time.monotonic()
            with suppress(ConnectionError):  # the close code says why
                await opened.send_bytes(bytes(FRAME_BYTES))
            return await _closed(opened, began)

    async def _odd_bytes(self) -> Answered:
        async with self._client() as client:
            began = time.monotonic()
            heard = await as_mlx_audio(client, self._hears, self._spoken, 3201)
            return Answered(str(heard.close_code), time.monotonic() - began)

    async def _bad_base64(self) -> Answered:
        async with self._socket(OPENAI) as opened:
            began = time.monotonic()
            await opened.send_json({"type": "input_audio_buffer.append", "audio": "***"})
            told = await _event(opened, "error")
            await opened.send_json({"type": "input_audio_buffer.clear"})
            goes_on = await _event(opened, "input_audio_buffer.cleared")
            return Answered("error, and goes on" if told and goes_on else "nothing", time.monotonic() - began)

    async def _no_text(self) -> Answered:
        async with self._socket(OPENAI) as opened:
            began = time.monotonic()
            await opened.send_frame(b"\xff\xfe", aiohttp.WSMsgType.TEXT)
            return await _closed(opened, began)

    async def _slow_upload(self) -> Answered:
        async def drops() -> AsyncIterator[bytes]:
            while True:
                yield b"x"
                await asyncio.sleep(DRIP_SECONDS)

        form = aiohttp.FormData({"model": "captions"})
        form.add_field("file", drops(), filename="a.wav", content_type="audio/wav")
        async with self._client() as client:
            began = time.monotonic()
            async with client.post(self._hears + TRANSCRIPTIONS, data=form) as answer:
                return Answered(str(answer.status), time.monotonic() - began)

    async def _never_reads(self) -> Answered:
        """It asks for answers without end; the time is from when nothing more goes through."""
        async with self._bare(OPENAI) as (_, writer):
            event = json.dumps({"type": "x" * 200}).encode()
            frame = b"\x81\xfe" + struct.pack("!H", len(event)) + bytes(4) + event
            full = time.monotonic()
            try:
                while True:
                    await asyncio.sleep(0)  # the other clients share this loop
                    writer.write(frame * 16)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.1):
                            await writer.drain()
                            full = time.monotonic()
            except ConnectionError:
                return Answered(GIVEN_UP, time.monotonic() - full)

    async def _half_open(self) -> Answered:
        """The client is gone, and nothing says so: no ping is answered."""
        async with self._bare(MLX_AUDIO) as (reader, _):
            began = time.monotonic()
            with suppress(ConnectionError):
                while await reader.read(2**16):
                    pass
            return Answered(GIVEN_UP, time.monotonic() - began)

    @asynccontextmanager
    async def _client(self, key: str | None = None, origin: str | None = None) -> AsyncIterator[aiohttp.ClientSession]:
        headers = {"Authorization": f"Bearer {key or self._key}"} | ({} if origin is None else {"Origin": origin})
        async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=60)) as client:
            yield client

    @asynccontextmanager
    async def _socket(self, path: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        async with self._client() as client, client.ws_connect(self._hears + path) as opened:
            yield opened

    @asynccontextmanager
    async def _bare(self, path: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A WebSocket by hand, which answers no ping and reads nothing by itself."""
        url = urlsplit(self._hears + path)
        plain = socket.socket()
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            plain.setsockopt(socket.SOL_SOCKET, option, SMALL_BUFFER_BYTES)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, (url.hostname, url.port))
        reader, writer = await asyncio.open_connection(sock=plain, limit=SMALL_BUFFER_BYTES)
        nonce = base64.b64encode(bytes(16)).decode()
        writer.write(
            f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: Bearer {self._key}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {nonce}\r\n\r\n".encode()
        )
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 101"):
                raise ConnectionError(head.decode().splitlines()[0])
            yield reader, writer
        finally:
            writer.transport.abort()


async def _closed(opened: aiohttp.ClientWebSocketResponse, began: float) -> Answered:
    async for _ in opened:
        pass
    return Answered(str(opened.close_code), time.monotonic() - began)


async def _event(opened: aiohttp.ClientWebSocketResponse, kind: str) -> bool:
    async for message in opened:
        if json.loads(message.data)["type"] == kind:
            return True
    return False
