"""What a session told and its reader has not taken, bounded in bytes."""

from __future__ import annotations

import asyncio
from collections import deque

from voxfleet_api.session_protocol import Ended, TextDelta, TurnDone
from voxfleet_gateway.lane_session import SessionEvent

MAX_BYTES = 2**18
EVENT_BYTES = 512
"""What an event takes beside its text."""


def size_bytes(event: SessionEvent) -> int:
    if isinstance(event, bytes):
        return len(event)
    if isinstance(event, TextDelta):
        return EVENT_BYTES + 4 * len(event.text)
    if isinstance(event, TurnDone):
        pieces = sum(EVENT_BYTES + 4 * len(piece.text) for piece in event.segments or ())
        return EVENT_BYTES + 4 * len(event.text) + pieces
    return EVENT_BYTES


class EventQueue:
    """One writer, who waits while it is full, and one reader. The end always has room."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._events: deque[SessionEvent] = deque()
        self._changed = asyncio.Event()
        self._ended = False
        self.held_bytes = 0

    @property
    def is_full(self) -> bool:
        return self.held_bytes >= self._max_bytes

    async def put(self, event: SessionEvent) -> None:
        """Waits for room; one event may be larger than it."""
        while self.is_full and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        self._add(event)

    def end(self, ended: Ended) -> None:
        """The last event; later ones are dropped."""
        self._add(ended)
        self._ended = True

    async def take(self) -> SessionEvent:
        while not self._events:
            self._changed.clear()
            await self._changed.wait()
        event = self._events.popleft()
        self.held_bytes -= size_bytes(event)
        self._changed.set()
        return event

    def _add(self, event: SessionEvent) -> None:
        if self._ended:
            return
        self._events.append(event)
        self.held_bytes += size_bytes(event)
        self._changed.set()
