"""A caller of an agent's sessions: opens them over a WebSocket, within the window that each was opened with."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from voxfleet_api.endpoint_lanes import LaneKey
from voxfleet_api.session_protocol import (
    MAX_AUDIO_MESSAGE_BYTES,
    SUBPROTOCOL,
    AudioTaken,
    Ended,
    Opened,
    OpenHearing,
    OpenSpeaking,
    OpenUpload,
    SessionAnswer,
    SessionRequest,
    TextDelta,
    TurnDone,
    session_answer,
    sessions_path,
)

PATIENCE_SECONDS = 30.0


@dataclass
class SessionCaller:
    socket: aiohttp.ClientWebSocketResponse
    told: list[SessionAnswer] = field(default_factory=list)
    audio: bytearray = field(default_factory=bytearray)
    sent_bytes: int = 0
    taken_bytes: int = 0
    window_bytes: int = 0

    async def send(self, message: SessionRequest) -> None:
        await self.socket.send_str(message.model_dump_json(by_alias=True, exclude_none=True))

    async def send_raw(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            await self.socket.send_bytes(message)
        else:
            await self.socket.send_str(message)

    def die(self) -> None:
        """Goes without a word, as a process that is killed."""
        self.socket.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    async def open(self, request: OpenHearing | OpenSpeaking | OpenUpload) -> Opened | Ended:
        await self.send(request)
        opened = await self.next_answer()
        assert isinstance(opened, Opened | Ended), opened
        return opened

    async def next_answer(self) -> SessionAnswer | bytes | None:
        """None: the socket is closed."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            message = await self.socket.receive()
        if message.type is aiohttp.WSMsgType.BINARY:
            content: bytes = message.data
            self.audio += content
            return content
        if message.type is not aiohttp.WSMsgType.TEXT:
            return None
        answer = session_answer.validate_json(message.data)
        self.told.append(answer)
        match answer:
            case Opened():
                self.window_bytes = answer.window_bytes
            case AudioTaken():
                self.taken_bytes = answer.total_bytes
        return answer

    async def send_audio(self, content: bytes, frame_bytes: int = MAX_AUDIO_MESSAGE_BYTES) -> None:
        """In frames; waits for room in the window."""
        for start in range(0, len(content), frame_bytes):
            frame = content[start : start + frame_bytes]
            while self.sent_bytes + len(frame) - self.taken_bytes > self.window_bytes:
                if await self.next_answer() is None:
                    return
            self.sent_bytes += len(frame)
            await self.socket.send_bytes(frame)

    async def end(self) -> Ended:
        """Waits for the session's end."""
        while True:
            answer = await self.next_answer()
            assert answer is not None, "the socket was closed without an Ended"
            if isinstance(answer, Ended):
                return answer

    @property
    def texts(self) -> list[str]:
        return [answer.text for answer in self.told if isinstance(answer, TurnDone)]

    @property
    def deltas(self) -> str:
        return "".join(answer.text for answer in self.told if isinstance(answer, TextDelta))


@asynccontextmanager
async def session_caller(
    url: str,
    key: LaneKey,
    token: str | None,
    *,
    headers: dict[str, str] | None = None,
    protocols: Iterable[str] = (SUBPROTOCOL,),
) -> AsyncIterator[SessionCaller]:
    """Raises aiohttp.WSServerHandshakeError with the status of a refusal."""
    credentials = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(url + sessions_path(key), headers=credentials | (headers or {}), protocols=protocols) as ws,
    ):
        yield SessionCaller(ws)
