"""A session between a gateway and a lane, from the first message to the end (voxfleet_api.session_protocol).

One task reads the caller and one tells it. Neither holds more than the session's own bounds: a caller that reads slowly
is told no more than its queue has room for, and one that sends beyond its window loses the session.
"""

from __future__ import annotations

import asyncio

from pydantic import ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from voxfleet_agent.endpoint_lanes.session_place import OpenedSession, SessionPlace
from voxfleet_agent.lanes.lane_session import FileSession, HearingSession, LaneSession, SpeakingSession
from voxfleet_agent.server.expected_measurements import ExpectedMeasurements
from voxfleet_agent.server.session_answers import Answer, answer_to, refused
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.session_protocol import (
    CLOSING_SECONDS,
    MAX_AUDIO_MESSAGE_BYTES,
    SAMPLE_BYTES,
    AudioHeard,
    ClearTurn,
    CommitTurn,
    EndAudio,
    OpenHearing,
    OpenSpeaking,
    OpenUpload,
    TurnMeasured,
    open_request,
    session_request,
)

FIRST_MESSAGE_SECONDS = 5.0
LISTENER_SECONDS = 600.0
"""How long a speech that was told to its end may go on being heard."""
_NAME_CHARACTERS = 64
_MESSAGES_AT_A_TIME = 32
"""After so many, other connections have their turn."""

OpenRequest = OpenHearing | OpenUpload | OpenSpeaking


async def converse(socket: WebSocket, place: SessionPlace) -> None:
    """Of a connection that was accepted. Returns once it is closed, or its session is over."""
    try:
        try:
            request = await _opening(socket)
            session = place.open(request)
        except VoxFleetError as error:
            await _tell(socket, refused(error))
            await _until_closed(socket)
        else:
            await _Conversation(socket, place, session, ExpectedMeasurements(request)).run()
        await socket.close()
    except WebSocketDisconnect:
        return


async def _opening(socket: WebSocket) -> OpenRequest:
    """Raises VoxFleetError(INVALID_INPUT) for what opens no session, and for a caller that says nothing."""
    try:
        async with asyncio.timeout(FIRST_MESSAGE_SECONDS):
            message = await _received(socket)
    except TimeoutError as error:
        raise _invalid(f"nothing opened a session within {FIRST_MESSAGE_SECONDS:.0f} s") from error
    if isinstance(message, bytes):
        raise _invalid("the first message is audio; open a session before")
    try:
        return open_request.validate_json(message)
    except ValidationError as error:
        raise _invalid(f"the first message opens no session; look at {fields_of(error)}") from error


class _Conversation:
    def __init__(
        self, socket: WebSocket, place: SessionPlace, session: OpenedSession, expected: ExpectedMeasurements
    ) -> None:
        self._socket = socket
        self._place = place
        self._session = session
        self._expected = expected
        self._spoken_bytes = 0
        self._heard_bytes = 0
        self._all_heard = asyncio.Event()
        self._told = False
        """Whether the caller knows of the end."""

    async def run(self) -> None:
        reading, telling = asyncio.create_task(self._read()), asyncio.create_task(self._tell())
        try:
            await asyncio.wait({reading, telling}, return_when=asyncio.FIRST_COMPLETED)
            if telling.done() and not telling.exception():
                await self._until_closed(reading)
            for task in (reading, telling):
                if task.done():
                    task.result()
        finally:
            self._session.cancel()
            for task in (reading, telling):
                task.cancel()
            await asyncio.gather(reading, telling, return_exceptions=True)

    async def _until_closed(self, reading: asyncio.Task[None]) -> None:
        """Waits for the caller to close, which it does after its last measurement, but not without an end."""
        listening = asyncio.create_task(self._all_heard.wait())
        try:
            await asyncio.wait({reading, listening}, timeout=LISTENER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({reading}, timeout=CLOSING_SECONDS)
        finally:
            listening.cancel()

    async def _tell(self) -> None:
        """Until the session's end is told. Raises WebSocketDisconnect."""
        async for event in self._session.events():
            answer = answer_to(event)
            if isinstance(answer, bytes):
                await self._speak(answer)
            else:
                self._expected.told(answer)
                await _tell(self._socket, answer)
        self._told = True
        self._note_heard()

    async def _speak(self, pcm: bytes) -> None:
        for start in range(0, len(pcm), MAX_AUDIO_MESSAGE_BYTES):
            part = pcm[start : start + MAX_AUDIO_MESSAGE_BYTES]
            self._spoken_bytes += len(part)
            await self._socket.send_bytes(part)

    async def _read(self) -> None:
        """Until the caller closes. What breaks the protocol ends the session, and what follows is of no interest."""
        while True:
            for _ in range(_MESSAGES_AT_A_TIME):
                message = await _received(self._socket)
                try:
                    self._take(message)
                except VoxFleetError as error:
                    self._session.close(error.failure_class, error.message)
            await asyncio.sleep(0)

    def _take(self, message: str | bytes) -> None:
        """Raises VoxFleetError(INVALID_INPUT)."""
        session = self._session
        if isinstance(message, bytes):
            self._take_audio(message)
            return
        try:
            request = session_request.validate_json(message)
        except ValidationError as error:
            raise _invalid(f"a message has no meaning in a session; look at {fields_of(error)}") from error
        match request:
            case TurnMeasured() if self._expected.take(request.latency):
                self._place.measured(request)
            case TurnMeasured():
                raise _invalid(f"{request.latency} was measured of no turn of this session, or twice")
            case AudioHeard() if isinstance(session, SpeakingSession):
                self._heard(session, request.total_bytes)
            case EndAudio() if not isinstance(session, SpeakingSession):
                session.end()
            case CommitTurn() if isinstance(session, HearingSession):
                session.commit()
            case ClearTurn() if isinstance(session, HearingSession):
                session.clear()
            case _:
                raise _invalid(f"{request.kind} has no place in {_what(session)}")

    def _take_audio(self, content: bytes) -> None:
        session = self._session
        if len(content) > MAX_AUDIO_MESSAGE_BYTES:
            raise _invalid(f"a message has {len(content)} bytes of audio; at most {MAX_AUDIO_MESSAGE_BYTES} are taken")
        match session:
            case HearingSession() if len(content) % SAMPLE_BYTES:
                raise _invalid("audio ends in the middle of a sample; send whole ones")
            case HearingSession():
                session.send_audio(content)
            case FileSession():
                session.send_bytes(content)
            case SpeakingSession():
                raise _invalid("a session that speaks takes no audio")

    def _heard(self, session: SpeakingSession, total_bytes: int) -> None:
        if not self._heard_bytes <= total_bytes <= self._spoken_bytes:
            raise _invalid(f"totalBytes is {total_bytes}, of {self._spoken_bytes} that were spoken")
        samples = total_bytes // SAMPLE_BYTES - self._heard_bytes // SAMPLE_BYTES
        self._heard_bytes = total_bytes
        if samples:
            session.grant(samples)
        self._note_heard()

    def _note_heard(self) -> None:
        if self._told and self._heard_bytes == self._spoken_bytes:
            self._all_heard.set()


def fields_of(error: ValidationError) -> str:
    """Which fields are wrong; never what they hold."""
    named = (".".join(map(str, item["loc"])) or "the whole message" for item in error.errors()[:5])
    return ", ".join(name[:_NAME_CHARACTERS] for name in named)


def _what(session: LaneSession) -> str:
    match session:
        case HearingSession():
            return "a session that listens"
        case FileSession():
            return "the upload of a file"
        case _:
            return "a session that speaks"


def _invalid(reason: str) -> VoxFleetError:
    return VoxFleetError(FailureClass.INVALID_INPUT, reason)


async def _received(socket: WebSocket) -> str | bytes:
    """The next message. Raises WebSocketDisconnect."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    text: str | None = message.get("text")
    content: bytes = message.get("bytes") or b""
    return content if text is None else text


async def _tell(socket: WebSocket, answer: Answer) -> None:
    await socket.send_text(answer.model_dump_json(by_alias=True, exclude_none=True))


async def _until_closed(socket: WebSocket) -> None:
    """Of a caller whose session was not opened. Raises WebSocketDisconnect."""
    try:
        async with asyncio.timeout(CLOSING_SECONDS):
            while True:
                await _received(socket)
    except TimeoutError:
        return
