"""An agent's side of sessions, as session_protocol has it: a lane without a model, which misbehaves on demand.

The real agent's is driven through the same client by tests/e2e.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import WSMessage, WSMsgType, web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from voxfleet_api.base import ApiModel
from voxfleet_api.digest import canonical_json
from voxfleet_api.endpoint_lanes import LaneKey
from voxfleet_api.failures import FailureClass
from voxfleet_api.ledger import IDENTITY_CONTEXT
from voxfleet_api.machine_messages import Identity, identity_claim
from voxfleet_api.protocol import CONTROL_PLANE_HEADER
from voxfleet_api.session_protocol import (
    SUBPROTOCOL,
    AudioHeard,
    AudioTaken,
    ClearTurn,
    CommitTurn,
    EndAudio,
    Ended,
    Opened,
    OpenHearing,
    OpenSpeaking,
    OpenUpload,
    TextDelta,
    TurnCommitted,
    TurnDone,
    TurnMeasured,
    open_request,
    session_request,
)

TOKEN = "the-session-token"
SAMPLE_RATE_HZ = 16_000
CHUNK_BYTES = 3_200
AT_END = b"at-end"


@dataclass
class SessionAgent:
    """What it is sent as audio it tells as text: `N bytes`."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    lanes: set[LaneKey] = field(default_factory=set)
    room: int = 4
    window_bytes: int = 6_400
    control_plane: str | None = None
    """None: it serves every one."""
    takes: bool = True
    """False: audio stays in its backlog."""
    hangs: bool = False
    """Its lanes take upgrades and open no session; the agent goes on."""
    refusal: Ended | None = None
    """Answers the opening."""
    loses_after_bytes: int | None = None
    """Then the socket is gone, without a word."""
    speech_bytes: int = 32_000
    open_sessions: int = 0
    most_ahead_bytes: int = 0
    """The most that a caller had sent and it had not counted as taken."""
    measured: list[TurnMeasured] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at each end of a session."""
    upgrades: int = 0
    pings_at_end: bool = False
    ponged: asyncio.Event = field(default_factory=asyncio.Event)
    _left: weakref.WeakSet[web.WebSocketResponse] = field(default_factory=weakref.WeakSet)
    """Sockets of sessions that ended, with which their places were free."""
    token: str = TOKEN
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is not set, it reads and answers nothing, and holds what comes."""

    def __post_init__(self) -> None:
        self.answers.set()

    @property
    def public_key(self) -> str:
        return base64.b64encode(self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()

    @asynccontextmanager
    async def on_socket(self, path: Path) -> AsyncIterator[None]:
        async with self._runner() as runner:
            await web.UnixSite(runner, str(path)).start()
            yield

    @asynccontextmanager
    async def on_port(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
        """On loopback."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        async with self._runner() as runner:
            await web.SockSite(runner, listener, ssl_context=tls).start()
            yield listener.getsockname()[1]

    @asynccontextmanager
    async def _runner(self) -> AsyncIterator[web.AppRunner]:
        app = web.Application()
        app.router.add_get("/v1/identity", self._identity)
        app.router.add_get("/v1/lanes/{uid}/{number}/sessions", self._session)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            yield runner
        finally:
            await runner.cleanup()

    async def _identity(self, request: web.Request) -> web.Response:
        unsigned = Identity(
            hardware_id="hardware-1",
            public_key=self.public_key,
            control_plane=self.control_plane,
            nonce=request.query["nonce"],
            signature="",
        )
        signature = self.key.sign(IDENTITY_CONTEXT + canonical_json(identity_claim(unsigned)))
        identity = unsigned.model_copy(update={"signature": base64.b64encode(signature).decode()})
        return web.Response(text=identity.model_dump_json(by_alias=True), content_type="application/json")

    async def _session(self, request: web.Request) -> web.StreamResponse:
        self.upgrades += 1
        await self.answers.wait()
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            raise web.HTTPUnauthorized
        if self.control_plane not in (None, request.headers.get(CONTROL_PLANE_HEADER)):
            raise web.HTTPForbidden
        if LaneKey(request.match_info["uid"], int(request.match_info["number"])) not in self.lanes:
            raise web.HTTPNotFound
        if self.open_sessions >= self.room:
            raise web.HTTPTooManyRequests(headers={"Retry-After": "3"})
        socket = web.WebSocketResponse(protocols=(SUBPROTOCOL,), compress=False, autoping=False)
        await socket.prepare(request)
        self.open_sessions += 1
        try:
            await self._serve(socket)
        finally:
            if socket not in self._left:
                self.open_sessions -= 1
            self.ended.set()
        return socket

    async def _serve(self, socket: web.WebSocketResponse) -> None:
        opening = open_request.validate_json((await socket.receive()).data)
        if self.hangs:
            async for _ in self._messages(socket):
                pass
            return
        if self.refusal is not None:
            await _tell(socket, self.refusal)
            await socket.close()
            return
        match opening:
            case OpenHearing() | OpenUpload():
                await _tell(socket, Opened(sample_rate_hz=SAMPLE_RATE_HZ, window_bytes=self.window_bytes))
                await self._hear(socket)
            case OpenSpeaking():
                await _tell(socket, Opened(sample_rate_hz=SAMPLE_RATE_HZ))
                await self._speak(socket, opening)

    async def _hear(self, socket: web.WebSocketResponse) -> None:
        total, turn_bytes, turn, taken = 0, 0, 0, 0
        async for message in self._messages(socket):
            if message.type is WSMsgType.BINARY:
                total, turn_bytes = total + len(message.data), turn_bytes + len(message.data)
                self.most_ahead_bytes = max(self.most_ahead_bytes, total - taken)
                if total - taken > self.window_bytes:
                    await _tell(socket, Ended(failure_class=FailureClass.THROTTLED, reason="beyond the window"))
                    return
                if self.loses_after_bytes is not None and total >= self.loses_after_bytes:
                    if socket._req is not None and socket._req.transport is not None:
                        socket._req.transport.abort()
                    return
                if self.takes:
                    taken = total
                    await _tell(socket, AudioTaken(total_bytes=taken))
                continue
            if message.type is not WSMsgType.TEXT:
                return
            match session_request.validate_json(message.data):
                case CommitTurn():
                    await _tell_turn(socket, turn, turn_bytes)
                    turn, turn_bytes = turn + 1, 0
                case ClearTurn():
                    turn_bytes = 0
                case EndAudio():
                    if turn_bytes:
                        await _tell_turn(socket, turn, turn_bytes)
                    self.open_sessions -= 1
                    self._left.add(socket)
                    await _tell(socket, Ended())
                    if self.pings_at_end:
                        await socket.ping(AT_END)
                case TurnMeasured() as measured:
                    self.measured.append(measured)

    async def _messages(self, socket: web.WebSocketResponse) -> AsyncIterator[WSMessage]:
        async for message in socket:
            await self.answers.wait()
            if message.type is WSMsgType.PING:
                await socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                if message.data == AT_END:
                    self.ponged.set()
            else:
                yield message

    async def _speak(self, socket: web.WebSocketResponse, opening: OpenSpeaking) -> None:
        heard = asyncio.Condition()
        counts = {"heard": 0, "sent": 0}

        async def listen() -> None:
            async for message in self._messages(socket):
                match session_request.validate_json(message.data):
                    case AudioHeard(total_bytes=total):
                        async with heard:
                            counts["heard"] = total
                            heard.notify_all()
                    case TurnMeasured() as measured:
                        self.measured.append(measured)

        listening = asyncio.create_task(listen())
        try:
            while counts["sent"] < self.speech_bytes and not listening.done():
                size = min(CHUNK_BYTES, self.speech_bytes - counts["sent"])
                async with heard:
                    room = heard.wait_for(lambda: counts["sent"] + size - counts["heard"] <= opening.window_bytes)  # noqa: B023 # within this turn
                    waiting = asyncio.ensure_future(room)
                    await asyncio.wait([waiting, listening], return_when=asyncio.FIRST_COMPLETED)
                    waiting.cancel()
                counts["sent"] += size
                await socket.send_bytes(bytes(size))
            await _tell(socket, Ended(audio_milliseconds=1000, wait_milliseconds=1, infer_milliseconds=2))
            await listening
        finally:
            listening.cancel()


async def _tell_turn(socket: web.WebSocketResponse, turn: int, size_bytes: int) -> None:
    text = f"{size_bytes} bytes"
    await _tell(socket, TurnCommitted(turn=turn))
    await _tell(socket, TextDelta(turn=turn, text=text))
    await _tell(socket, TurnDone(turn=turn, text=text))


async def _tell(socket: web.WebSocketResponse, message: ApiModel) -> None:
    await socket.send_str(message.model_dump_json(by_alias=True, exclude_none=True))
