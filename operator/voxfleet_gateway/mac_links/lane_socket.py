"""A session on a lane, over a WebSocket of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp
from pydantic import ValidationError

from voxfleet_api.failures import FailureClass
from voxfleet_api.session_protocol import (
    MAX_AUDIO_MESSAGE_BYTES,
    MAX_CONTROL_BYTES,
    SAMPLE_BYTES,
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
    SessionAnswer,
    TurnMeasured,
    session_answer,
)
from voxfleet_gateway.lane_session import SessionEvent
from voxfleet_gateway.mac_links.audio_credit import AudioCredit
from voxfleet_gateway.mac_links.event_queue import EventQueue
from voxfleet_gateway.mac_links.refused_openings import (
    GONE_SECONDS,
    OpeningRefused,
    Refusal,
    refused_session,
    refused_upgrade,
)

UPGRADE_SECONDS = 1.0
"""For the connection and the agent's answer. A Mac that takes longer is passed over, for callers wait."""
PING_SECONDS = 2.0
SILENCE_SECONDS = 10.0
"""After a ping without any answer, the Mac is lost."""
CLOSE_SECONDS = 1.0

OpenRequest = OpenHearing | OpenUpload | OpenSpeaking
Socket = aiohttp.ClientWebSocketResponse


class LaneSocket:
    """Implements LaneSession."""

    def __init__(
        self,
        socket: Socket,
        opened: Opened,
        request: OpenRequest,
        mac: str,
        on_end: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        """`on_end`: called once the session has ended by itself, with which its place on the lane is free."""
        self._socket = socket
        self._mac = mac
        self._sample_rate_hz = opened.sample_rate_hz
        self._on_end = on_end
        self._clock = clock
        self._whole_bytes = SAMPLE_BYTES if isinstance(request, OpenHearing) else 1
        self._credit = AudioCredit(opened.window_bytes)
        self._queue = EventQueue()
        self._heard_bytes = 0
        self._pinged_seconds: float | None = None
        self._heard_from_seconds = clock()
        self._tunnel_milliseconds = 0
        self.ended: Ended | None = None

    @property
    def mac(self) -> str:
        return self._mac

    @property
    def sample_rate_hz(self) -> int:
        return self._sample_rate_hz

    @property
    def tunnel_milliseconds(self) -> int:
        return self._tunnel_milliseconds

    @property
    def heard_from_seconds(self) -> float:
        """When something of the Mac was last read."""
        return self._heard_from_seconds

    @property
    def held_bytes(self) -> int:
        """Of what the session told and nobody has taken."""
        return self._queue.held_bytes

    async def send_audio(self, audio: bytes) -> None:
        rest = memoryview(audio)
        while rest:
            size = await self._credit.claim(min(len(rest), MAX_AUDIO_MESSAGE_BYTES), self._whole_bytes)
            if size == 0:
                return
            with suppress(ConnectionError):  # `events` says that the Mac was lost
                await self._socket.send_bytes(bytes(rest[:size]))
            rest = rest[size:]

    async def commit(self) -> None:
        await self._tell(CommitTurn())

    async def clear(self) -> None:
        await self._tell(ClearTurn())

    async def end_audio(self) -> None:
        await self._tell(EndAudio())

    async def heard(self, size_bytes: int) -> None:
        self._heard_bytes += size_bytes
        await self._tell(AudioHeard(total_bytes=self._heard_bytes))

    async def measured(self, turn: TurnMeasured) -> None:
        await self._tell(turn)

    async def events(self) -> AsyncIterator[SessionEvent]:
        while True:
            event = await self._queue.take()
            yield event
            if isinstance(event, Ended):
                return

    async def receive(self) -> None:
        """Runs until the session has ended, which `events` then says; never raises."""
        try:
            ended = await self._receive()
        except (aiohttp.ClientError, ConnectionError, ValidationError, ValueError) as error:
            ended = _lost(f"{type(error).__name__} from the agent")
        self._end(ended)
        with suppress(aiohttp.ClientError, ConnectionError):
            await self._answer_pings()

    async def ping(self) -> None:
        """Measures the way to the Mac and back, and ends a session whose Mac is silent."""
        while self.ended is None:
            now = self._clock()
            if self._pinged_seconds is None:
                self._pinged_seconds = now
                with suppress(ConnectionError):
                    await self._socket.ping()
            elif self._is_silent(now):
                self._end(_lost(f"the Mac was silent for {SILENCE_SECONDS:g} s"))
                return
            await asyncio.sleep(PING_SECONDS)

    def _is_silent(self, now: float) -> bool:
        """Nobody looks at the socket while the reader lets the queue be full."""
        since = max(self._heard_from_seconds, self._pinged_seconds or now)
        return not self._queue.is_full and now - since > SILENCE_SECONDS

    async def _receive(self) -> Ended:
        while True:
            message = await self._socket.receive()
            self._heard_from_seconds = self._clock()
            match message.type:
                case aiohttp.WSMsgType.BINARY:
                    await self._queue.put(message.data)
                case aiohttp.WSMsgType.TEXT:
                    answer = _parsed(message.data)
                    if answer is None:
                        continue
                    if isinstance(answer, Ended):
                        return answer
                    if isinstance(answer, Opened):
                        return _lost("the agent opened the session twice")
                    if isinstance(answer, AudioTaken):
                        self._credit.taken(answer.total_bytes)
                    await self._queue.put(answer)
                case aiohttp.WSMsgType.PING:
                    await self._socket.pong(message.data)
                case aiohttp.WSMsgType.PONG:
                    if self._pinged_seconds is not None:
                        self._tunnel_milliseconds = round((self._clock() - self._pinged_seconds) * 1000)
                        self._pinged_seconds = None
                case _:
                    return _lost("the connection to the Mac ended")

    async def _answer_pings(self) -> None:
        """Until the socket is closed: a listener may still hear, and the agent looks whether it is there."""
        while not self._socket.closed:
            message = await self._socket.receive()
            if message.type is aiohttp.WSMsgType.PING:
                await self._socket.pong(message.data)
            elif message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                return

    def _end(self, ended: Ended) -> None:
        if self.ended is not None:
            return
        self.ended = ended
        self._on_end()
        self._credit.end()
        self._queue.end(ended)

    async def _tell(self, message: OpenRequest | CommitTurn | ClearTurn | EndAudio | AudioHeard | TurnMeasured) -> None:
        with suppress(ConnectionError):
            await self._socket.send_str(message.model_dump_json(by_alias=True, exclude_none=True))


@asynccontextmanager
async def open_lane_socket(
    client: aiohttp.ClientSession,
    url: str,
    headers: dict[str, str],
    request: OpenRequest,
    mac: str,
    answer_seconds: float,
    on_end: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[LaneSocket]:
    """`answer_seconds`: for the lane's answer, which may have to wait for a step of its model.

    Raises OpeningRefused. Leaving the context cancels the session.
    """
    socket = await _upgraded(client, url, headers)
    try:
        opened = await _opened(socket, request, answer_seconds)
        session = LaneSocket(socket, opened, request, mac, on_end, clock)
        tasks = [asyncio.create_task(session.receive()), asyncio.create_task(session.ping())]
        try:
            yield session
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await socket.close()


async def _upgraded(client: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> Socket:
    try:
        async with asyncio.timeout(UPGRADE_SECONDS):
            socket = await client.ws_connect(
                url,
                protocols=(SUBPROTOCOL,),
                headers=headers,
                autoping=False,
                autoclose=False,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
                max_msg_size=MAX_CONTROL_BYTES,
            )
    except aiohttp.WSServerHandshakeError as error:
        retry_after = None if error.headers is None else error.headers.get("Retry-After")
        raise refused_upgrade(error.status, retry_after) from error
    except (aiohttp.ClientError, OSError) as error:  # TimeoutError is one
        raise OpeningRefused(Refusal.UNREACHABLE, f"no session: {type(error).__name__}") from error
    if socket.protocol != SUBPROTOCOL:
        await socket.close()
        raise OpeningRefused(Refusal.NOT_READY, f"the agent does not speak {SUBPROTOCOL}; bring it up to date")
    return socket


async def _opened(socket: Socket, request: OpenRequest, answer_seconds: float) -> Opened:
    try:
        async with asyncio.timeout(answer_seconds):
            await socket.send_str(request.model_dump_json(by_alias=True, exclude_none=True))
            while (message := await socket.receive()).type in (aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG):
                if message.type is aiohttp.WSMsgType.PING:
                    await socket.pong(message.data)
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise OpeningRefused(Refusal.UNREACHABLE, "the connection ended before the session was open")
            answer = session_answer.validate_json(message.data)
    except TimeoutError as error:
        # The agent took the upgrade: it is this lane that hangs, and the Mac's other lanes are none the worse for it.
        raise OpeningRefused(
            Refusal.SILENT,
            f"the lane did not answer within {answer_seconds:g} s",
            retry_after_seconds=GONE_SECONDS,
        ) from error
    except (aiohttp.ClientError, OSError, ValidationError) as error:
        raise OpeningRefused(Refusal.UNREACHABLE, f"the session did not open: {type(error).__name__}") from error
    if isinstance(answer, Ended):
        raise refused_session(answer)
    if not isinstance(answer, Opened):
        raise OpeningRefused(Refusal.UNREACHABLE, "the agent's first answer is no answer to an opening")
    return answer


def _parsed(text: str) -> SessionAnswer | None:
    """None for what a newer agent says beyond this gateway's knowledge. Raises ValidationError."""
    try:
        return session_answer.validate_json(text)
    except ValidationError as error:
        if any(trouble["type"] == "union_tag_invalid" for trouble in error.errors(include_input=False)):
            return None
        raise


def _lost(why: str) -> Ended:
    return Ended(failure_class=FailureClass.TRANSPORT, reason=f"{why}; the session is lost, open another one")
