"""WebSockets as this agent serves them: what a peer leaves unread, unanswered or unfinished ends within a bound.

uvicorn reads no further while a message waits for the application, and bounds a message; the rest is here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

PING_SECONDS = 10.0
"""Between two pings, and for the answer to one: a peer that is gone holds its session for twice as long."""
CLOSE_SECONDS = 5.0
"""How long a connection whose session is over may take to write what is left."""
MOST_FRAGMENTS = 64
"""Of a message, of which empty ones would count as nothing."""
MOST_UNREAD_BYTES = 2**20
"""Answers to pings that a peer sends without reading."""


class SessionSocket(WebSocketsSansIOProtocol):
    _cut: asyncio.TimerHandle | None = None

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True  # it was answered, by a refusal: without this, uvicorn logs an error

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

    def connection_lost(self, exc: Exception | None) -> None:
        if self._cut is not None:
            self._cut.cancel()
        super().connection_lost(exc)
