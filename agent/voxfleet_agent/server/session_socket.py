"""WebSockets as this agent serves them: what a peer leaves unread, unanswered or unfinished ends within a bound.

uvicorn reads no further while a message waits for the application, and bounds a message; the rest is here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveEvent, ASGISendEvent

PING_SECONDS = 10.0
"""Between two pings, and for the answer to one: a peer that is gone holds its session for twice as long."""
CLOSE_SECONDS = 5.0
"""How long a connection whose session is over may take to write what is left."""
MOST_FRAGMENTS = 64
"""Of a message, of which empty ones would count as nothing."""
MOST_UNREAD_BYTES = 2**20
"""Answers to pings that a peer sends without reading."""


SLICE_BYTES = 2**12
"""Of what was read at once. A frame may be two bytes, and parsing all of a read of them keeps others for a second."""


class SessionSocket(WebSocketsSansIOProtocol):
    _cut: asyncio.TimerHandle | None = None
    _parses: asyncio.Handle | None = None

    def data_received(self, data: bytes) -> None:
        self._unparsed += data
        if self._parses is None:
            self._parse()

    def _parse(self) -> None:
        """Parses a slice, unless the application has not taken what the last one held."""
        self._parses = None
        if self._unparsed and self._may_parse:
            part = bytes(self._unparsed[:SLICE_BYTES])
            del self._unparsed[:SLICE_BYTES]
            super().data_received(part)
        self._go_on()

    @property
    def _may_parse(self) -> bool:
        return self.queue.empty() or self.close_sent

    def _go_on(self) -> None:
        """Nothing more is read while something is left."""
        if self.disconnected:
            return
        if self._unparsed:
            self.transport.pause_reading()
            if self._parses is None and self._may_parse:
                self._parses = self.loop.call_soon(self._parse)
        elif not self.read_paused:
            self.transport.resume_reading()

    async def receive(self) -> ASGIReceiveEvent:
        message = await super().receive()
        self._go_on()
        return message

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True  # it was answered, by a refusal: without this, uvicorn logs an error
        elif message["type"] == "websocket.close":
            self._go_on()  # the peer's own close may lie in what is left

    def keepalive_timeout(self) -> None:
        """Aborts: a peer that answers no ping reads nothing either, and what waits for it would wait for ever."""
        self.transport.abort()

    def handle_ping(self) -> None:
        super().handle_ping()
        if self.transport.get_write_buffer_size() > MOST_UNREAD_BYTES:
            self.transport.abort()

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) < MOST_FRAGMENTS:
            super().handle_cont(event)
        else:
            self.transport.abort()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        if not self.disconnected:
            self._cut = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._unparsed = bytearray()
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unparsed.clear()
        self.read_paused = False  # nobody must resume a TLS transport that is gone: it raises
        if self._cut is not None:
            self._cut.cancel()
        super().connection_lost(exc)
