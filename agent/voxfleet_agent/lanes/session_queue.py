"""What a session has told and its reader has not taken: a queue that is bounded in bytes, and always ends."""

from __future__ import annotations

import asyncio
from collections import deque

from voxfleet_agent.lane_protocol.session_messages import (
    AudioTaken,
    SessionEnded,
    SessionOpened,
    SpeechStarted,
    SpeechStopped,
    SpokenAudio,
    TextDelta,
    TurnCommitted,
    TurnDone,
)

SessionEvent = (
    SessionOpened
    | AudioTaken
    | SpeechStarted
    | SpeechStopped
    | TurnCommitted
    | TextDelta
    | TurnDone
    | SpokenAudio
    | SessionEnded
)
EVENT_BYTES = 256
"""What an event takes beside its text or audio."""


def event_bytes(event: SessionEvent) -> int:
    """What the queue holds for an event. Pure."""
    match event:
        case SpokenAudio():
            return EVENT_BYTES + len(event.pcm)
        case TextDelta():
            return EVENT_BYTES + 4 * len(event.text)
        case TurnDone():
            segments = event.segments or ()
            return EVENT_BYTES + 4 * len(event.text) + sum(EVENT_BYTES + 4 * len(part.text) for part in segments)
        case _:
            return EVENT_BYTES


class SessionQueue:
    """Serves one reader. The last event is a SessionEnded, for which there is always room."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self._events: deque[SessionEvent] = deque()
        self._changed = asyncio.Event()
        self.finished = False
        """Whether the last event was put."""

    def put(self, event: SessionEvent) -> bool:
        """Returns whether there was room. Does nothing once the queue has finished."""
        if self.finished:
            return True
        if isinstance(event, AudioTaken) and self._events and isinstance(self._events[-1], AudioTaken):
            self._events[-1] = event  # its total counts the one before, too
            return True
        size_bytes = event_bytes(event)
        if self.held_bytes + size_bytes > self.max_bytes:
            return False
        self._add(event, size_bytes)
        return True

    def finish(self, end: SessionEnded, *, drop: bool = False) -> None:
        """Puts the last event; a second call does nothing. `drop`: what nobody has taken so far is given up."""
        if self.finished:
            return
        if drop:
            self._events.clear()
            self.held_bytes = 0
        self._add(end, 0)
        self.finished = True

    async def take(self) -> SessionEvent | None:
        """The next event, once there is one; None after the last."""
        while not self._events:
            if self.finished:
                return None
            self._changed.clear()
            await self._changed.wait()
        event = self._events.popleft()
        self.held_bytes -= 0 if isinstance(event, SessionEnded) else event_bytes(event)
        return event

    def _add(self, event: SessionEvent, size_bytes: int) -> None:
        self._events.append(event)
        self.held_bytes += size_bytes
        self._changed.set()
