"""The sessions of one child: opens them, hands each answer to its session, and says what the child still owes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TypeVar

from voxfleet_agent.lane_protocol.session_messages import (
    BatchesPaused,
    OpenFile,
    OpenHearing,
    OpenSpeaking,
    SessionAnswer,
    SessionEnded,
    TurnDropped,
    WorkingOnAudio,
)
from voxfleet_agent.lanes.child_process import ChildProcess
from voxfleet_agent.lanes.lane_session import FileSession, HearingSession, LaneSession, SessionBounds, SpeakingSession
from voxfleet_agent.lanes.session_feed import SessionFeed
from voxfleet_agent.lanes.session_hangs import ChildSilence
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_task import MAX_TEXT_CHARACTERS

S = TypeVar("S", bound=LaneSession)

RETRY_AFTER_SECONDS = 1.0


class SessionTable:
    def __init__(self, child: ChildProcess, numbers: Iterator[int], max_sessions: int, bounds: SessionBounds) -> None:
        """`numbers`: no number comes twice in the life of a lane, so what a dead child still told reaches nobody."""
        self._child = child
        self.feed = SessionFeed(child)
        self._numbers = numbers
        self._bounds = bounds
        self.max_sessions = max_sessions
        self._sessions: dict[int, LaneSession] = {}
        """Until the child has ended them: one that was cancelled still takes its place in the child."""
        self._now_seconds = asyncio.get_running_loop().time
        self._taken = (0, self._now_seconds())
        """(what the child had taken at the last look, when it last took anything or had nothing to take)."""
        self._step_audio_seconds = 0.0
        """What is left of the audio of the long step that the child is in."""
        self._step_ended_seconds = 0.0
        """When the last long step ended: nobody was passed over before that."""
        self.changed: Callable[[], None] = lambda: None
        """Called when a session opens or ends, and when `speaking` may have changed."""

    @property
    def open_count(self) -> int:
        return len(self._sessions)

    @property
    def speaking(self) -> bool:
        """Whether a person waits for the model, or is about to."""
        return any(session.speaking for session in self._sessions.values())

    def open_hearing(self, request: OpenHearing) -> HearingSession:
        """The number in a request is replaced. Raises VoxFleetError(THROTTLED) while all places are taken."""
        number = self._next_number()
        session = HearingSession(number, self.feed, self._bounds, self._now_seconds)
        session.detects_turns = request.turn_detection is not None
        return self._open(request, session)

    def open_file(self, request: OpenFile) -> FileSession:
        """Raises VoxFleetError(THROTTLED)."""
        number = self._next_number()
        return self._open(request, FileSession(number, self.feed, self._bounds, self._now_seconds))

    def open_speaking(self, request: OpenSpeaking) -> SpeakingSession:
        """Raises VoxFleetError(THROTTLED), and INVALID_INPUT for a text beyond MAX_TEXT_CHARACTERS."""
        if len(request.text) > MAX_TEXT_CHARACTERS:
            raise VoxFleetError(
                FailureClass.INVALID_INPUT,
                f"the text has {len(request.text)} characters; at most {MAX_TEXT_CHARACTERS} are spoken in one session",
            )
        number = self._next_number()
        session = SpeakingSession(number, self.feed, self._bounds, self._now_seconds, request.room_samples)
        return self._open(request, session)

    def told(self, answer: SessionAnswer) -> None:
        """Hands the answer to its session; one for a session that has ended reaches nobody."""
        if isinstance(answer, BatchesPaused):
            return
        if isinstance(answer, WorkingOnAudio):
            self._step_audio_seconds = answer.audio_milliseconds / 1000
            self._step_ended_seconds = self._now_seconds()
            return
        session = self._sessions.get(answer.session)
        if session is None:
            return
        if isinstance(answer, TurnDropped):
            if isinstance(session, HearingSession):
                session.turn_dropped()
            return
        session.told(answer)
        if isinstance(answer, SessionEnded):
            del self._sessions[answer.session]
            self.changed()

    def end_all(self, failure_class: FailureClass, reason: str) -> int:
        """Ends the sessions of a child that is gone, and returns how many had not ended."""
        ended = [session for session in self._sessions.values() if not session.ended]
        for session in ended:
            session.lane_ended(failure_class, reason)
        self._sessions.clear()
        self.changed()
        return len(ended)

    def silence(self) -> ChildSilence:
        """What the child owes now; to be called now and then, for it compares with the call before."""
        now_seconds = self._now_seconds()
        taken_bytes = self._child.taken_bytes
        if taken_bytes > self._taken[0] or taken_bytes == self._child.sent_bytes:
            self._taken = (taken_bytes, now_seconds)
        waiting = [
            (since, session.may_be_passed_over)
            for session in self._sessions.values()
            if (since := session.owed_since_seconds) is not None
        ]
        loaded = self._child.loaded
        return ChildSilence(
            owed_since_seconds=min((since for since, _ in waiting), default=None),
            passed_over_since_seconds=min(
                (max(since, self._step_ended_seconds) for since, may_be in waiting if not may_be), default=None
            ),
            untaken_since_seconds=None if taken_bytes == self._child.sent_bytes else self._taken[1],
            last_received_seconds=self._child.last_received_seconds,
            first_audio_seconds=0.0 if loaded is None else loaded.warm_up_seconds,
            step_audio_seconds=self._step_audio_seconds,
        )

    def _next_number(self) -> int:
        if len(self._sessions) >= self.max_sessions:
            raise VoxFleetError(
                FailureClass.THROTTLED,
                f"the lane serves {self.max_sessions} sessions already",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        return next(self._numbers)

    def _open(self, request: OpenHearing | OpenFile | OpenSpeaking, session: S) -> S:
        self.feed.send_first(request.model_copy(update={"session": session.number}))
        self._sessions[session.number] = session
        session.moved = lambda: self.changed()
        self.changed()
        return session
