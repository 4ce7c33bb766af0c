"""What the sessions of one child send it: each in its own order, in turn, and no more at once than the pipe takes.

Audio waits here and not in the pipe's buffer, so that the end or the cancel of a session waits for no other's audio.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from voxfleet_agent.lane_protocol.messages import Message
from voxfleet_agent.lane_protocol.session_messages import (
    ClearTurn,
    CommitTurn,
    EndSession,
    FileBytes,
    GrantRoom,
    HearAudio,
)

CHUNK_BYTES = 2**14
"""Of a session's audio in one message: half a second at 16 kHz, after which others have their turn."""

InOrder = CommitTurn | ClearTurn | EndSession | GrantRoom
AudioMessage = Callable[[int, bytes], HearAudio | FileBytes]


def heard_audio(session: int, pcm: bytes) -> HearAudio:
    return HearAudio(session=session, pcm=pcm)


def file_bytes(session: int, content: bytes) -> FileBytes:
    return FileBytes(session=session, content=content)


class RequestChannel(Protocol):
    """A lanes.child_process.ChildProcess."""

    @property
    def alive(self) -> bool: ...

    def send(self, request: Message) -> None: ...

    async def until_taken(self) -> None:
        """Waits until the child has taken most of what was sent, or is gone."""
        ...


class _Audio:
    def __init__(self, message: AudioMessage, content: bytes) -> None:
        self.message = message
        self.content = bytearray(content)

    def chunk(self, session: int) -> HearAudio | FileBytes:
        content = bytes(self.content[:CHUNK_BYTES])
        del self.content[:CHUNK_BYTES]
        return self.message(session, content)


class SessionFeed:
    """`send_first` sends at once; all else waits for `run`, which whoever reads the child's answers runs beside it."""

    def __init__(self, child: RequestChannel) -> None:
        self._child = child
        self._waiting: dict[int, deque[_Audio | InOrder]] = {}
        self._with_requests: deque[int] = deque()
        """Sessions that have something else than audio to send next, in turn."""
        self._with_audio: deque[int] = deque()
        self._changed = asyncio.Event()

    def send_first(self, request: Message) -> None:
        """For what opens or cancels a session, which waits for nothing."""
        self._child.send(request)

    def put(self, request: InOrder) -> None:
        """Follows what the session has put before. Room that was granted twice is granted once, with the sum."""
        items = self._items(request.session)
        last = items[-1] if items else None
        if isinstance(request, GrantRoom) and isinstance(last, GrantRoom):
            items[-1] = GrantRoom(session=request.session, samples=last.samples + request.samples)
        else:
            self._append(request.session, items, request)

    def put_audio(self, session: int, content: bytes, message: AudioMessage) -> None:
        """Small pieces become one message if they wait."""
        items = self._items(session)
        last = items[-1] if items else None
        if isinstance(last, _Audio):
            last.content += content
        else:
            self._append(session, items, _Audio(message, content))

    def waiting_requests(self, session: int) -> int:
        return len(self._waiting.get(session, ()))

    def forget(self, session: int) -> None:
        """What the session has put is dropped; it must put no more."""
        self._waiting.pop(session, None)

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            while self._child.alive and self._send_next():
                await self._child.until_taken()
                await asyncio.sleep(0)  # a pipe with room never yields, and others must get their turn here
            self._changed.clear()
            await self._changed.wait()

    def _send_next(self) -> bool:
        """Returns whether anything waited."""
        while turns := self._with_requests or self._with_audio:
            session = turns.popleft()
            items = self._waiting.get(session)
            if items is None:
                continue
            first = items[0]
            message = first.chunk(session) if isinstance(first, _Audio) else first
            if not isinstance(first, _Audio) or not first.content:
                items.popleft()
            if items:
                self._take_turn(session, items[0])
            else:
                del self._waiting[session]
            self._child.send(message)
            return True
        return False

    def _items(self, session: int) -> deque[_Audio | InOrder]:
        return self._waiting.setdefault(session, deque())

    def _append(self, session: int, items: deque[_Audio | InOrder], item: _Audio | InOrder) -> None:
        items.append(item)
        if len(items) == 1:
            self._take_turn(session, item)
            self._changed.set()

    def _take_turn(self, session: int, item: _Audio | InOrder) -> None:
        (self._with_audio if isinstance(item, _Audio) else self._with_requests).append(session)
