"""What a client sends on its way to the lane, in its order and within a bound.

While the lane takes nothing, small frames become large messages, and then the socket is not read any more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from voxfleet_api.session_protocol import MAX_AUDIO_MESSAGE_BYTES
from voxfleet_gateway.lane_session import LaneSession
from voxfleet_gateway.realtime.pcm_samples import SAMPLE_BYTES
from voxfleet_gateway.realtime.steps import Clear, Commit, End

MOST_WAITING_BYTES = 2**16
_MOST_WAITING_PIECES = 64


class LaneFeed:
    """One task puts, another one runs `feed`."""

    def __init__(self) -> None:
        self._pieces: deque[bytearray | Commit | Clear | End] = deque()
        self.waiting_bytes = 0
        """At most MOST_WAITING_BYTES and one frame."""
        self._filled = asyncio.Event()
        self._has_room = asyncio.Event()

    async def put(self, piece: bytes | Commit | Clear | End) -> None:
        """`bytes`: PCM16, whole samples. Waits while too much waits already."""
        while self.waiting_bytes >= MOST_WAITING_BYTES or len(self._pieces) >= _MOST_WAITING_PIECES:
            self._has_room.clear()
            await self._has_room.wait()
        if not isinstance(piece, bytes):
            self._pieces.append(piece)
        else:
            self.waiting_bytes += len(piece)
            last = self._pieces[-1] if self._pieces else None
            if isinstance(last, bytearray):
                last += piece
            else:
                self._pieces.append(bytearray(piece))
        self._filled.set()

    async def feed(self, session: LaneSession, sent: Callable[[int], None]) -> None:
        """Runs until it is cancelled. `sent`: is told of so many samples that the lane's link took."""
        while True:
            while not self._pieces:
                self._filled.clear()
                await self._filled.wait()
            first = self._pieces[0]
            if isinstance(first, bytearray):
                pcm = bytes(first[:MAX_AUDIO_MESSAGE_BYTES])
                del first[:MAX_AUDIO_MESSAGE_BYTES]
                if not first:
                    self._pieces.popleft()
                await session.send_audio(pcm)
                self.waiting_bytes -= len(pcm)
                sent(len(pcm) // SAMPLE_BYTES)
            else:
                self._pieces.popleft()
                match first:
                    case Commit():
                        await session.commit()
                    case Clear():
                        await session.clear()
                    case End():
                        await session.end_audio()
            self._has_room.set()
