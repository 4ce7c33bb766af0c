"""One session in a lane: somebody who speaks to the model, or listens to it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from voxfleet_agent.lane_protocol.messages import REASON_CHARACTERS
from voxfleet_agent.lane_protocol.session_messages import (
    CancelSession,
    ClearTurn,
    CommitTurn,
    EndSession,
    GrantRoom,
    HearAudio,
    SessionEnded,
    SpeechStarted,
    SpokenAudio,
    TurnCommitted,
    TurnDone,
)
from voxfleet_agent.lanes.child_process import ChildProcess
from voxfleet_agent.lanes.session_queue import SessionEvent, SessionQueue
from voxfleet_api.failures import FailureClass

SAMPLE_BYTES = 2


@dataclass(frozen=True, slots=True)
class SessionBounds:
    """What one session may hold in this process."""

    told_bytes: int = 2**18
    """Of what it told and its reader has not taken. A session that speaks holds its room besides."""
    untaken_bytes: int = 2**20
    """Of audio that the child has not taken: about 24 s at 16 kHz."""


class LaneSession(ABC):
    """Serves one caller, except for `events`, which serves another.

    It ends once, and `events` says how; what is sent afterwards is dropped, because the end may be on its way to the
    caller. Nothing here waits for the child but `until_taken`.
    """

    def __init__(
        self, number: int, child: ChildProcess, bounds: SessionBounds, now_seconds: Callable[[], float]
    ) -> None:
        self.number = number
        self._child = child
        self._bounds = bounds
        self._now_seconds = now_seconds
        self._queue = SessionQueue(bounds.told_bytes)
        self._untaken: deque[tuple[int, int]] = deque()
        """(the child's `sent_bytes` after a message of this session, its size), of those that it has not taken."""
        self._untaken_bytes = 0
        self._over = asyncio.Event()
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
        if not self.ended:
            self._expect_end()
            self._send(EndSession(session=self.number))

    def cancel(self) -> None:
        """Ends the session at once, whatever it has not told yet."""
        self.close(None, "")

    def close(self, failure_class: FailureClass | None, reason: str) -> None:
        """Ends the session for its reader now, and in the child after its current step."""
        if not self.ended:
            self._expect_end()
            self._send(CancelSession(session=self.number))
            self._finish(failure_class, reason, drop=True)

    async def until_taken(self, timeout_seconds: float) -> None:
        """Waits until the child has taken most of what was sent, the session ends, or the time is over.

        Whoever reads audio faster than the child takes it calls this before it reads on.
        """
        waits = {asyncio.ensure_future(self._child.until_taken()), asyncio.ensure_future(self._over.wait())}
        try:
            await asyncio.wait(waits, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    # For the one who reads the child's answers

    def told(self, event: SessionEvent) -> None:
        """Takes one answer of the child. A reader that does not keep up loses its session; nobody waits for it."""
        if self._ending_since_seconds is not None and not self.ended:
            self._ending_since_seconds = self._now_seconds()  # what was heard is being told
        self._settle(event)
        if isinstance(event, SessionEnded):
            self._finish(event.failure_class, event.reason)
        elif not self._queue.put(event):
            self.close(FailureClass.TRANSPORT, "the reader did not take what the session told; read faster")

    def lane_ended(self, failure_class: FailureClass, reason: str) -> None:
        """The child is gone: the session ends with what it has told so far."""
        self._finish(failure_class, reason)

    @abstractmethod
    def _settle(self, event: SessionEvent) -> None:
        """Notes what the child still owes after this answer."""

    def _expect_end(self) -> None:
        if self._ending_since_seconds is None:
            self._ending_since_seconds = self._now_seconds()

    def _finish(self, failure_class: FailureClass | None, reason: str, *, drop: bool = False) -> None:
        end = SessionEnded(session=self.number, failure_class=failure_class, reason=reason[:REASON_CHARACTERS])
        self._queue.finish(end, drop=drop)
        self._over.set()
        self.moved()

    def _send_within_bounds(self, message: HearAudio | CommitTurn | ClearTurn | GrantRoom, more_bytes: int = 0) -> None:
        """`more_bytes`: of the audio in the message."""
        if self.ended or self._ending_since_seconds is not None:
            return
        if self._has_room_for(more_bytes):
            self._send(message)
        else:
            self.close(FailureClass.THROTTLED, "more came than the lane took; send no faster than the audio plays")

    def _send(self, message: HearAudio | CommitTurn | ClearTurn | GrantRoom | EndSession | CancelSession) -> None:
        before_bytes = self._child.sent_bytes
        self._child.send(message)
        size_bytes = self._child.sent_bytes - before_bytes
        self._untaken.append((self._child.sent_bytes, size_bytes))
        self._untaken_bytes += size_bytes

    def _has_room_for(self, size_bytes: int) -> bool:
        taken_bytes = self._child.taken_bytes
        while self._untaken and self._untaken[0][0] <= taken_bytes:
            self._untaken_bytes -= self._untaken.popleft()[1]
        return self._untaken_bytes + size_bytes <= self._bounds.untaken_bytes


class HearingSession(LaneSession):
    detects_turns = True
    """Whether speech is told apart from silence; else any audio begins a turn."""
    _turns_without_text = 0
    _turn_is_open = False

    @property
    def speaking(self) -> bool:
        return not self.ended and (self._turn_is_open or self._turns_without_text > 0)

    def send_audio(self, pcm: bytes) -> None:
        """`pcm`: 16-bit little-endian samples of one channel, whole ones. Raises ValueError for half a sample.

        Ends the session when the child has not taken what came before: it hangs, or audio comes faster than it may.
        """
        if len(pcm) % SAMPLE_BYTES:
            raise ValueError("audio ends in the middle of a sample")
        self._send_within_bounds(HearAudio(session=self.number, pcm=pcm), len(pcm))
        if not self.detects_turns:
            self._open_turn(is_open=True)

    def commit(self) -> None:
        """The open turn ends here."""
        self._send_within_bounds(CommitTurn(session=self.number))

    def clear(self) -> None:
        """The open turn never was."""
        self._send_within_bounds(ClearTurn(session=self.number))
        self._open_turn(is_open=False)

    def _open_turn(self, *, is_open: bool) -> None:
        if self._turn_is_open != is_open:
            self._turn_is_open = is_open
            self.moved()

    def _settle(self, event: SessionEvent) -> None:
        """Between a turn's commit and its text the child owes more; whatever it tells is a sign that it works."""
        match event:
            case SpeechStarted():
                self._open_turn(is_open=True)
            case TurnCommitted():
                self._turns_without_text += 1
                self._open_turn(is_open=False)
            case TurnDone():
                self._turns_without_text = max(0, self._turns_without_text - 1)
                self.moved()
        self._owed_since_seconds = self._now_seconds() if self._turns_without_text else None


class SpeakingSession(LaneSession):
    """`room_samples`: what the child may speak until its listener grants more."""

    def __init__(
        self,
        number: int,
        child: ChildProcess,
        bounds: SessionBounds,
        now_seconds: Callable[[], float],
        room_samples: int,
    ) -> None:
        super().__init__(number, child, bounds, now_seconds)
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
        self._send_within_bounds(GrantRoom(session=self.number, samples=samples))

    def _settle(self, event: SessionEvent) -> None:
        """The child owes more speech as long as it has room for some."""
        if isinstance(event, SpokenAudio):
            self._room_samples -= len(event.pcm) // SAMPLE_BYTES
            self._ahead_samples += len(event.pcm) // SAMPLE_BYTES
        self._owed_since_seconds = self._now_seconds() if self._room_samples > 0 else None
