"""A gateway with one endpoint, on loopback, which answers as the real one does: OpenAI's and mlx-audio's formats."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import BodyPartReader, WSMsgType, web

KEY = "vf-0123456789abcdef0123456789abcdef"
PATH = "/calls/captions"
RATE_HZ = 24_000
SAMPLES = bytes(range(250)) * 40
TURNS = (("hello one.", 0.0, 1.5), ("two three", 1.75, 3.25))
TEXT = " ".join(text for text, _, _ in TURNS)
SERVER_TIMING = "gateway;dur=2.5, tunnel;dur=1, wait;dur=10, infer;dur=80"


@dataclass
class GatewayStandIn:
    url: str = ""
    fails_late: bool = False
    """Streams end with an error, sockets with close code 1013, and speech without its end."""
    cut: bool = False
    """Streams end without their last line."""
    mute: bool = False
    """Sockets tell nothing after the audio's end."""
    turns: tuple[tuple[str, float, float], ...] = TURNS
    """Of a streamed file."""
    full_times: int = 0
    """How many calls are still refused for lack of room."""
    retry_after_seconds: int = 2
    fields: dict[str, str] = field(default_factory=dict)
    """Of the last call."""
    audio: bytes = b""
    """Of the last call: the file's bytes, or what a socket brought."""
    file_name: str = ""
    heard: threading.Event = field(default_factory=threading.Event)
    """Set when a socket has brought audio."""

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(f"{PATH}/v1/audio/transcriptions", self._transcriptions),
            web.post(f"{PATH}/v1/audio/speech", self._speech),
            web.get(f"{PATH}/v1/audio/transcriptions/realtime", self._realtime),
        ]

    def refusal(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return _error(401, "no such key")
        if self.full_times:
            self.full_times -= 1
            return _error(429, "no lane has room", {"Retry-After": str(self.retry_after_seconds)})
        return None

    async def _transcriptions(self, request: web.Request) -> web.StreamResponse:
        self.fields, self.audio = {}, b""
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)
            content = bytes(await part.read())
            if part.name == "file":
                self.audio, self.file_name = content, str(part.filename)
            else:
                self.fields[str(part.name)] = content.decode()
        if refusal := self.refusal(request):
            return refusal
        if not self.audio:
            return _error(400, "the file is empty")
        if self.fields.get("stream") == "true":
            return await self._lines(request)
        timing = {"Server-Timing": SERVER_TIMING}
        match self.fields["response_format"]:
            case "text":
                return web.Response(text=f"{TEXT}\n", headers=timing)
            case "srt":
                return web.Response(text="1\n00:00:00,000 --> 00:00:01,500\nhello one\n", headers=timing)
            case _:
                return web.json_response({"text": TEXT}, headers=timing)

    async def _lines(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        for text, start, end in ((f" {text}" if start else text, start, end) for text, start, end in self.turns):
            await response.write(_line(text[:3], None, None))
            await response.write(_line(text[3:], start, end))
        if self.fails_late:
            await response.write(json.dumps({"error": {"message": "the lane's process ended"}}).encode() + b"\n")
        elif not self.cut:
            await response.write(_line("", 3.25, 3.25, is_final=True))
        return response

    async def _speech(self, request: web.Request) -> web.StreamResponse:
        if refusal := self.refusal(request):
            return refusal
        self.fields = {name: str(value) for name, value in (await request.json()).items()}
        if self.fields["response_format"] == "flac":
            return web.Response(body=b"fLaC and so on")
        response = web.StreamResponse(headers={"Content-Type": "audio/wav"})
        await response.prepare(request)
        await response.write(endless_header(RATE_HZ))
        for start in range(0, len(SAMPLES), 999):
            await response.write(SAMPLES[start : start + 999])
            if self.fails_late:
                assert request.transport is not None
                request.transport.abort()
                break
        return response

    async def _realtime(self, request: web.Request) -> web.StreamResponse:
        if refusal := self.refusal(request):
            return refusal
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.fields = {name: str(value) for name, value in (await socket.receive_json()).items()}
        self.audio = b""
        await socket.send_json({"status": "ready"})
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                self.audio += message.data
                self.heard.set()
            elif json.loads(message.data) == {"action": "stop"}:
                break
        if self.mute:
            await socket.receive()  # until the client closes
            return socket
        for text, start, end in TURNS:
            await socket.send_json({"type": "delta", "delta": text[:3]})
            await socket.send_json({"type": "delta", "delta": text[3:]})
            await socket.send_json({"type": "complete", "text": text, "start": start, "end": end, "is_partial": False})
        await socket.send_json({"type": "complete", "text": "", "is_partial": False})
        await socket.close(code=1013 if self.fails_late else 1000)
        return socket


def _line(text: str, start: float | None, end: float | None, *, is_final: bool = False) -> bytes:
    return json.dumps({"text": text, "start": start, "end": end, "is_final": is_final}).encode() + b"\n"


def endless_header(rate_hz: int) -> bytes:
    """Of a WAV whose length is not known."""
    format_ = struct.pack("<HHIIHH", 1, 1, rate_hz, rate_hz * 2, 2, 16)
    return b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0" + format_ + b"data\xff\xff\xff\xff"


@contextmanager
def gateway_stand_in() -> Iterator[GatewayStandIn]:
    """Serves from a thread of its own: commands run an event loop in the caller's."""
    stand_in, ready, stop = GatewayStandIn(), threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        app = web.Application(client_max_size=2**30)
        app.add_routes(stand_in.routes())
        runner = web.AppRunner(app, shutdown_timeout=1.0, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        stand_in.url = f"http://127.0.0.1:{runner.addresses[0][1]}{PATH}"
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(10)
        yield stand_in
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(10)


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    body = {"error": {"message": message, "type": "invalid_request_error", "code": None, "param": None}}
    return web.json_response(body, status=status, headers=headers)
