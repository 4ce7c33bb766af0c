"""What a session's client sent and the session has not heard yet, in its order, and how the parent learns what was."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from voxfleet_agent.lane_protocol.messages import Message
from voxfleet_agent.lane_protocol.session_messages import AudioTaken, SessionMessage
from voxfleet_api.failures import FailureClass, VoxFleetError

MOST_WAITING_REQUESTS = 1_000
_TOLD_NS = 50_000_000
"""How often the parent is told at most of audio that was taken, unless it is a quarter of the window."""


class TakenAudio:
    """Counts what a session has taken, and tells the parent now and then.

    What it keeps to itself is less than a quarter of the window, so that the parent may always send a message more.
    """

    def __init__(
        self,
        number: int,
        window_bytes: int,
        send: Callable[[Message], None],
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.window_bytes = window_bytes
        self.total_bytes = 0
        self._number = number
        self._send = send
        self._now_ns = now_ns
        self._told_bytes = 0
        self._told_ns = now_ns()

    def add(self, size_bytes: int) -> None:
        self.total_bytes += size_bytes
        untold_bytes = self.total_bytes - self._told_bytes
        if 4 * untold_bytes >= self.window_bytes or self._now_ns() - self._told_ns >= _TOLD_NS:
            self.tell()

    def tell(self) -> None:
        """Tells the total, if it is news."""
        self._told_ns = self._now_ns()
        if self.total_bytes > self._told_bytes:
            self._told_bytes = self.total_bytes
            self._send(AudioTaken(session=self._number, total_bytes=self.total_bytes))


class AudioBacklog:
    """At most `window_bytes` of audio: the parent knows that it must not send more than is taken out."""

    def __init__(self, window_bytes: int, slice_bytes: int) -> None:
        """`slice_bytes`: how much audio is taken out at once, at most."""
        self._window_bytes = window_bytes
        self._slice_bytes = slice_bytes
        self._waiting: deque[bytearray | SessionMessage] = deque()
        self._audio_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __len__(self) -> int:
        return len(self._waiting)

    def add_audio(self, pcm: bytes) -> None:
        """Raises VoxFleetError(THROTTLED) for more than there may be."""
        if self._audio_bytes + len(pcm) > self._window_bytes:
            raise VoxFleetError(
                FailureClass.THROTTLED,
                "audio comes faster than the model hears it; send no more than the session's window allows",
            )
        self._audio_bytes += len(pcm)
        last = self._waiting[-1] if self._waiting else None
        if isinstance(last, bytearray):
            last += pcm
        elif pcm:
            self._waiting.append(bytearray(pcm))

    def add(self, request: SessionMessage) -> None:
        """Raises VoxFleetError(THROTTLED) for more than there may be."""
        if len(self._waiting) >= MOST_WAITING_REQUESTS:
            raise VoxFleetError(
                FailureClass.THROTTLED, "turns end faster than the model hears them; commit fewer of them"
            )
        self._waiting.append(request)

    def take(self) -> bytes | SessionMessage:
        """The next slice of audio, or request. Raises IndexError when nothing waits."""
        first = self._waiting[0]
        if not isinstance(first, bytearray):
            self._waiting.popleft()
            return first
        pcm = bytes(first[: self._slice_bytes])
        del first[: self._slice_bytes]
        self._audio_bytes -= len(pcm)
        if not first:
            self._waiting.popleft()
        return pcm

    def clear(self) -> None:
        self._waiting.clear()
        self._audio_bytes = 0
