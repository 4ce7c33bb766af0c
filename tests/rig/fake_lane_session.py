"""A lane whose sessions a test leads by hand: what they were sent, and what they tell."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from voxfleet_api.session_protocol import (
    ClearTurn,
    CommitTurn,
    EndAudio,
    Ended,
    OpenHearing,
    OpenSpeaking,
    OpenUpload,
    TurnMeasured,
)
from voxfleet_gateway.lane_session import SessionEvent
from voxfleet_gateway.refusals import CallRefused

Sent = bytes | CommitTurn | ClearTurn | EndAudio


class FakeLaneSession:
    """A LaneSession."""

    mac = "mac-1"
    tunnel_milliseconds = 4

    def __init__(self, request: OpenHearing | OpenUpload | OpenSpeaking, sample_rate_hz: int) -> None:
        self.request = request
        self.sample_rate_hz = sample_rate_hz
        self.sent: asyncio.Queue[Sent] = asyncio.Queue()
        """What came, in its order."""
        self.takes = asyncio.Event()
        """Cleared: the lane takes no audio now."""
        self.takes.set()
        self.heard_bytes = 0
        self.measurements: asyncio.Queue[TurnMeasured] = asyncio.Queue()
        self.left = asyncio.Event()
        """Set when the caller has left the session."""
        self._events: asyncio.Queue[SessionEvent] = asyncio.Queue()
        self._ended = False
        self._has_heard = False

    def tell(self, *events: SessionEvent) -> None:
        for event in events:
            self._events.put_nowait(event)
            self._ended = self._ended or isinstance(event, Ended)

    async def audio(self, size_bytes: int) -> bytes:
        """The next bytes that came."""
        taken = b""
        while len(taken) < size_bytes:
            piece = await self.sent.get()
            assert isinstance(piece, bytes)
            taken += piece
        assert len(taken) == size_bytes
        return taken

    async def send_audio(self, audio: bytes) -> None:
        await self.takes.wait()
        self._has_heard = True
        self._take(audio)

    async def commit(self) -> None:
        self._take(CommitTurn())

    async def clear(self) -> None:
        self._take(ClearTurn())

    async def end_audio(self) -> None:
        """A session that heard nothing ends by itself."""
        self._take(EndAudio())
        if not self._has_heard:
            self.tell(Ended())

    async def heard(self, size_bytes: int) -> None:
        self.heard_bytes += size_bytes

    async def measured(self, turn: TurnMeasured) -> None:
        self.measurements.put_nowait(turn)

    async def events(self) -> AsyncIterator[SessionEvent]:
        while True:
            event = await self._events.get()
            yield event
            if isinstance(event, Ended):
                return

    def _take(self, sent: Sent) -> None:
        if not self._ended:
            self.sent.put_nowait(sent)


class FakeLane:
    """An OpensSessions."""

    def __init__(self, sample_rate_hz: int = 16_000) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.refusals: deque[CallRefused | None] = deque()
        """Of the next sessions, each once; None: it is opened."""
        self.sessions: list[FakeLaneSession] = []
        self._opened: asyncio.Queue[FakeLaneSession] = asyncio.Queue()

    @property
    def open_sessions(self) -> int:
        return sum(not session.left.is_set() for session in self.sessions)

    async def next_session(self) -> FakeLaneSession:
        return await self._opened.get()

    @asynccontextmanager
    async def __call__(self, request: OpenHearing | OpenUpload | OpenSpeaking) -> AsyncIterator[FakeLaneSession]:
        refusal = self.refusals.popleft() if self.refusals else None
        if refusal is not None:
            raise refusal
        session = FakeLaneSession(request, self.sample_rate_hz)
        self.sessions.append(session)
        self._opened.put_nowait(session)
        try:
            yield session
        finally:
            session.left.set()
