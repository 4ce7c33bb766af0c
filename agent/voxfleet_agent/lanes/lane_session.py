"""One session in a lane: somebody who speaks to the model, or listens to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from voxfleet_agent.lane_protocol.messages import REASON_CHARACTERS
from voxfleet_agent.lane_protocol.session_messages import (
    AudioTaken,
    CancelSession,
    ClearTurn,
    CommitTurn,
    EndSession,
    GrantRoom,
    SessionEnded,
    SessionOpened,
    SpeechStarted,
    SpokenAudio,
    TurnCommitted,
    TurnDone,
)
from voxfleet_agent.lanes.session_feed import AudioMessage, InOrder, SessionFeed, file_bytes, heard_audio
from voxfleet_agent.lanes.session_queue import SessionEvent, SessionQueue
from voxfleet_api.failures import FailureClass

SAMPLE_BYTES = 2
MOST_WAITING_REQUESTS = 1_000
"""Of one session, that its child has not taken."""
QUIET_SECONDS = 1.0
"""Without audio for so long, a turn that only a commit ends is not being spoken."""


@dataclass(frozen=True, slots=True)
class SessionBounds:
    """What one session may hold in this process."""

    told_bytes: int = 2**18
    """Of what it told and its reader has not taken. A session that speaks holds its room besides."""
    told_of_a_file_bytes: int = 2**23
    """The same of a recording, of which a piece may be hours long, and is told at once with its segments."""
    window_bytes: int = 2**20
    """Of audio that the child has not counted as taken: 32 s at 16 kHz. Less where the child says so."""


class LaneSession(ABC):
    """Serves one caller, except for `events`, which serves another.

    It ends once, and `events` says how; what is sent afterwards is dropped, because the end may be on its way to the
    caller. Nothing here waits for the child.
    """

    def __init__(self, number: int, feed: SessionFeed, bounds: SessionBounds, now_seconds: Callable[[], float]) -> None:
        self.number = number
        self._feed = feed
        self._bounds = bounds
        self._now_seconds = now_seconds
        self._queue = SessionQueue(bounds.told_bytes)
        self._ending_since_seconds: float | None = None
        self._owed_since_seconds: float | None = now_seconds()
        self.moved: Callable[[], None] = lambda: None
        """Called when `speaking` may have changed."""

    @property
    def speaking(self) -> bool:
        """Whether a person waits for the model, or is about to.

        From the onset of speech until the turn's text was told, or until a text was spoken.
        """
        return not self.ended

    @property
    def ended(self) -> bool:
        """Whether nothing more comes than what `events` still has."""
        return self._queue.finished

    @property
    def owed_since_seconds(self) -> float | None:
        """Since when the child owes this session an answer, on the loop's clock; None: it owes none."""
        return self._owed_since_seconds if self._ending_since_seconds is None else self._ending_since_seconds

    @property
    def may_be_passed_over(self) -> bool:
        """Whether the child may serve others before this session for as long as they need it."""
        return False

    async def events(self) -> AsyncIterator[SessionEvent]:
        """What the session tells, in its order; the last is its SessionEnded."""
        while (event := await self._queue.take()) is not None:
            yield event

    def end(self) -> None:
        """No more audio comes. What was heard is still told."""
        if not self.ended and self._ending_since_seconds is None:
            self._ending_since_seconds = self._now_seconds()
            self._feed.put(EndSession(session=self.number))
            self.moved()

    def cancel(self) -> None:
        """Ends the session at once, whatever it has not told yet."""
        self.close(None, "")

    def close(self, failure_class: FailureClass | None, reason: str) -> None:
        """Ends the session for its reader now, and in the child after its current step."""
        if not self.ended:
            if self._ending_since_seconds is None:
                self._ending_since_seconds = self._now_seconds()
            self._feed.forget(self.number)
            self._feed.send_first(CancelSession(session=self.number))
            self._finish(self._end(failure_class, reason), drop=True)

    # For the one who reads the child's answers

    def told(self, event: SessionEvent) -> None:
        """Takes one answer of the child. A reader that does not keep up loses its session; nobody waits for it."""
        if self._ending_since_seconds is not None and not self.ended:
            self._ending_since_seconds = self._now_seconds()  # what was heard is being told
        self._settle(event)
        if isinstance(event, SessionEnded):
            self._feed.forget(self.number)
            self._finish(event.model_copy(update={"reason": event.reason[:REASON_CHARACTERS]}))
        elif not self._queue.put(event):
            self.close(FailureClass.TRANSPORT, "the reader did not take what the session told; read faster")

    def lane_ended(self, failure_class: FailureClass, reason: str) -> None:
        """The child is gone: the session ends with what it has told so far."""
        self._feed.forget(self.number)
        self._finish(self._end(failure_class, reason))

    @abstractmethod
    def _settle(self, event: SessionEvent) -> None:
        """Notes what the child still owes after this answer."""

    def _end(self, failure_class: FailureClass | None, reason: str) -> SessionEnded:
        return SessionEnded(session=self.number, failure_class=failure_class, reason=reason[:REASON_CHARACTERS])

    def _finish(self, end: SessionEnded, *, drop: bool = False) -> None:
        self._queue.finish(end, drop=drop)
        self.moved()

    def _takes_more(self) -> bool:
        """Whether the session takes more of its caller. One that asks for more than the lane takes loses it."""
        if self.ended or self._ending_since_seconds is not None:
            return False
        if self._feed.waiting_requests(self.number) >= MOST_WAITING_REQUESTS:
            self._throttle()
            return False
        return True

    def _put(self, request: InOrder) -> None:
        if self._takes_more():
            self._feed.put(request)

    def _throttle(self) -> None:
        self.close(FailureClass.THROTTLED, "more came than the lane takes; send within the window that it opened with")


class ListeningSession(LaneSession):
    """Takes audio within a window: so much may be on its way that the child has not counted as taken."""

    def __init__(self, number: int, feed: SessionFeed, bounds: SessionBounds, now_seconds: Callable[[], float]) -> None:
        super().__init__(number, feed, bounds, now_seconds)
        self._window_bytes = bounds.window_bytes
        self._sent_bytes = 0
        self._taken_bytes = 0
        self._turns_without_text = 0

    def told(self, event: SessionEvent) -> None:
        match event:
            case SessionOpened(window_bytes=child_bytes):
                self._window_bytes = min(child_bytes, self._window_bytes)
                event = event.model_copy(update={"window_bytes": self._window_bytes})
            case AudioTaken():
                self._taken_bytes = min(event.total_bytes, self._sent_bytes)
        super().told(event)

    def _send_audio(self, content: bytes, message: AudioMessage) -> None:
        if self._takes_more() and content:
            self._sent_bytes += len(content)
            if self._sent_bytes - self._taken_bytes > self._window_bytes:
                self._throttle()
            else:
                self._feed.put_audio(self.number, content, message)

    def _settle(self, event: SessionEvent) -> None:
        """Between a turn's commit and its text the child owes more; whatever it tells is a sign that it works."""
        match event:
            case AudioTaken():
                return  # it takes audio also of a session whose text it forgot
            case TurnCommitted():
                self._turns_without_text += 1
                self.moved()
            case TurnDone():
                self._turns_without_text = max(0, self._turns_without_text - 1)
                self.moved()
        self._owed_since_seconds = self._now_seconds() if self._turns_without_text else None


class HearingSession(ListeningSession):
    """Somebody speaks."""

    detects_turns = True
    """Whether speech is told apart from silence; else any audio begins a turn."""
    _turn_is_open = False
    _last_audio_seconds = 0.0

    @property
    def speaking(self) -> bool:
        return not self.ended and (self._is_speech or self._turns_without_text > 0)

    @property
    def _is_speech(self) -> bool:
        """Where nobody tells speech from silence, a caller that sends nothing for a while is silent."""
        quiet_seconds = 0.0 if self.detects_turns else self._now_seconds() - self._last_audio_seconds
        return self._turn_is_open and quiet_seconds < QUIET_SECONDS

    def send_audio(self, pcm: bytes) -> None:
        """`pcm`: 16-bit little-endian samples of one channel, whole ones. Raises ValueError for half a sample."""
        if len(pcm) % SAMPLE_BYTES:
            raise ValueError("audio ends in the middle of a sample")
        self._send_audio(pcm, heard_audio)
        if not self.detects_turns:
            was_speech, self._last_audio_seconds = self._is_speech, self._now_seconds()
            self._turn_is_open = True
            if not was_speech:
                self.moved()

    def commit(self) -> None:
        """The open turn ends here."""
        self._put(CommitTurn(session=self.number))

    def clear(self) -> None:
        """The open turn never was."""
        self._put(ClearTurn(session=self.number))
        self._open_turn(is_open=False)

    def turn_dropped(self) -> None:
        """The child cleared a turn of which it had told that speech started, perhaps after `clear` was called."""
        self._open_turn(is_open=False)

    def _settle(self, event: SessionEvent) -> None:
        super()._settle(event)
        if isinstance(event, SpeechStarted | TurnCommitted):
            self._open_turn(is_open=isinstance(event, SpeechStarted))

    def _open_turn(self, *, is_open: bool) -> None:
        if self._turn_is_open != is_open:
            self._turn_is_open = is_open
            self.moved()


class FileSession(ListeningSession):
    """A recording is heard, whose file comes as its bytes."""

    def __init__(self, number: int, feed: SessionFeed, bounds: SessionBounds, now_seconds: Callable[[], float]) -> None:
        super().__init__(number, feed, bounds, now_seconds)
        self._queue.max_bytes = bounds.told_of_a_file_bytes

    @property
    def speaking(self) -> bool:
        """Nobody waits for the model while the file still comes."""
        return not self.ended and (self._ending_since_seconds is not None or self._turns_without_text > 0)

    def send_bytes(self, content: bytes) -> None:
        self._send_audio(content, file_bytes)


class SpeakingSession(LaneSession):
    """`room_samples`: what the child may speak until its listener grants more."""

    def __init__(
        self,
        number: int,
        feed: SessionFeed,
        bounds: SessionBounds,
        now_seconds: Callable[[], float],
        room_samples: int,
    ) -> None:
        super().__init__(number, feed, bounds, now_seconds)
        self._queue.max_bytes += room_samples * SAMPLE_BYTES
        self._room_samples = room_samples
        self._ahead_samples = 0
        """What the child has spoken and the listener has not taken."""

    @property
    def may_be_passed_over(self) -> bool:
        """A listener who still has something to hear comes after those who have less."""
        return self._ahead_samples > 0 and self._ending_since_seconds is None

    def end(self) -> None:
        """Changes nothing: its text was complete from the start, and it ends when all of it was spoken."""

    def grant(self, samples: int) -> None:
        """The listener took this much, and has room for as much again."""
        has_all = self._ahead_samples > 0 and self._ahead_samples <= samples
        if self._room_samples <= 0 or has_all:
            self._owed_since_seconds = self._now_seconds()
        self._room_samples += samples
        self._ahead_samples -= samples
        self._put(GrantRoom(session=self.number, samples=samples))

    def _settle(self, event: SessionEvent) -> None:
        """The child owes more speech as long as it has room for some."""
        if isinstance(event, SpokenAudio):
            self._room_samples -= len(event.pcm) // SAMPLE_BYTES
            self._ahead_samples += len(event.pcm) // SAMPLE_BYTES
        self._owed_since_seconds = self._now_seconds() if self._room_samples > 0 else None
