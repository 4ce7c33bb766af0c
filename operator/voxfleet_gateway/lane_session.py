"""A session on a warm lane, as those who speak a client's format use it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from voxfleet_api.session_protocol import (
    AudioTaken,
    Ended,
    OpenHearing,
    OpenSpeaking,
    OpenUpload,
    SpeechStarted,
    SpeechStopped,
    TextDelta,
    TurnCommitted,
    TurnDone,
    TurnMeasured,
)

SessionEvent = AudioTaken | SpeechStarted | SpeechStopped | TurnCommitted | TextDelta | TurnDone | bytes | Ended
"""`bytes`: speech, PCM16 of one channel, whole samples."""


class LaneSession(Protocol):
    """Serves one sender and one reader of `events`, which may be two tasks."""

    @property
    def mac(self) -> str: ...

    @property
    def sample_rate_hz(self) -> int:
        """Of the model, and so of the audio that it speaks."""
        ...

    @property
    def tunnel_milliseconds(self) -> int:
        """How long a message and its answer took on the way to the Mac and back, measured lately."""
        ...

    async def send_audio(self, audio: bytes) -> None:
        """Sends PCM16 (whole samples), or the next bytes of a file; waits while the lane has taken too little.

        Does nothing once the session has ended: `events` says why.
        """
        ...

    async def commit(self) -> None: ...

    async def clear(self) -> None: ...

    async def end_audio(self) -> None:
        """No more audio comes; what was heard is still told."""
        ...

    async def heard(self, size_bytes: int) -> None:
        """The listener took so much more of the speech."""
        ...

    async def measured(self, turn: TurnMeasured) -> None:
        """Also after Ended, until the context is left: of a text its parts and stalls are known only then."""
        ...

    def events(self) -> AsyncIterator[SessionEvent]:
        """What the session tells, in its order; the last is its Ended, also when the Mac was lost (Transport)."""
        ...


class OpensSessions(Protocol):
    def __call__(self, request: OpenHearing | OpenUpload | OpenSpeaking) -> AbstractAsyncContextManager[LaneSession]:
        """Opens a session of the endpoint on the least busy warm lane. Leaving the context cancels it.

        Entering raises CallRefused: 429 or 503 with Retry-After when no lane has room, 422 for what the lane refuses.
        It waits no longer than 200 ms for room.
        """
        ...
