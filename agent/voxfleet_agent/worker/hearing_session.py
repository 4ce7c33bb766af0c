"""One session that listens: frames of audio come in, turns and their text go out.

Audio stays in a ring of the longest turn and a fifth, and touches no disk. What does not fit, because ended turns still
wait for the model, waits as it came in a backlog; a client that sends beyond the window that it was told loses its
session.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from voxfleet_agent.audio.turn_ring import TurnRing
from voxfleet_agent.engine.agreed_text import AgreedText
from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.engine.turn_detection import SpeechEnded, TurnBegan, TurnCleared, TurnEnded, TurnEvent
from voxfleet_agent.lane_protocol.messages import REASON_CHARACTERS, Message
from voxfleet_agent.lane_protocol.session_messages import (
    ClearTurn,
    CommitTurn,
    EndSession,
    FileBytes,
    GrantRoom,
    HearAudio,
    SessionMessage,
    SpeechStarted,
    SpeechStopped,
    TextDelta,
    TurnCommitted,
    TurnDone,
    TurnDropped,
)
from voxfleet_agent.worker.audio_backlog import AudioBacklog, TakenAudio
from voxfleet_agent.worker.interrupted_pass import Attend, InterruptedPasses, nobody_else
from voxfleet_agent.worker.long_step import Reached, long_step
from voxfleet_agent.worker.memory_needs import backlog_bytes, turn_ring_frames
from voxfleet_agent.worker.session_audio import SAMPLE_BYTES, Samples, SessionAudio
from voxfleet_agent.worker.session_summary import SessionSummary
from voxfleet_agent.worker.step_order import StepKind, WaitingStep
from voxfleet_agent.worker.turn_clock import LATE_MILLISECONDS, TurnClock
from voxfleet_agent.worker.turn_hearing import TurnHearing, TurnStream
from voxfleet_api.failures import FailureClass, VoxFleetError

MOST_WAITING_TURNS = 8
"""Ended turns that may wait for the model before audio has to wait."""
PARTIAL_REST_FACTOR = 4
"""After a pass over an open turn, the turn is left alone for this many times as long: a fifth of the lane for each."""
MOST_PARTIAL_MILLISECONDS = 60_000
"""A longer open turn is heard no more before its end: each pass hears all of it, and is a step that others wait for."""
_SLICE_MILLISECONDS = 100
"""How much audio is taken in at once: turns that end free the ring in between."""
_STEP_SLICES = 10
"""How many slices a step takes in, which the detector of speech hears in about 14 ms."""


@dataclass(slots=True)
class _Turn:
    number: int
    start_frame: int
    stream: TurnStream | None
    """Hears the turn as it is spoken; None: it is heard again and again."""
    text: AgreedText = field(default_factory=AgreedText)
    heard_to_frame: int = 0
    """How far the last pass has heard it."""
    due_since_ns: int | None = None
    """Since when another pass is due."""
    rests_until_ns: int = 0
    """No pass over it begins before."""
    end_frame: int = 0
    voiced_end_frame: int | None = None
    ended_ns: int = 0
    taken_up_ns: int | None = None
    """When the model began with what counts as the final pass."""


class HearingSession:
    """On the thread that owns the model. Its methods raise VoxFleetError, with which the session ends."""

    def __init__(
        self,
        number: int,
        hearing: TurnHearing,
        audio: SessionAudio,
        turns: TurnClock,
        *,
        sample_rate_hz: int,
        partial_milliseconds: int | None,
        max_turn_milliseconds: int,
        detects: bool,
        send: Callable[[Message], None],
        attend: Attend = nobody_else,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`sample_rate_hz`: of the client's audio. `partial_milliseconds`: None: turns are heard at their end alone.
        `detects`: the client is told where speech begins and stops. `attend`: is called between windows of a pass.
        """
        self._number = number
        self._hearing = hearing
        self._audio = audio
        self._turns = turns
        self._rate_hz = hearing.sample_rate_hz
        self._client_rate_hz = sample_rate_hz
        self._partial_frames = (
            None if partial_milliseconds is None else max(1, partial_milliseconds * self._rate_hz // 1000)
        )
        self._ring_frames = turn_ring_frames(max_turn_milliseconds, self._rate_hz)
        self._ring = TurnRing(self._ring_frames)
        self._detects = detects
        self._send = send
        self._now_ns = now_ns
        self._most_partial_frames = MOST_PARTIAL_MILLISECONDS * self._rate_hz // 1000
        self._open: _Turn | None = None
        self._ended: deque[_Turn] = deque()
        self._next_turn = 0
        self._last_text_ns = 0
        """When the last turn that ended had its text."""
        slice_bytes = max(1, sample_rate_hz * _SLICE_MILLISECONDS // 1000) * SAMPLE_BYTES
        self.window_bytes = backlog_bytes(max_turn_milliseconds, self._rate_hz)
        """How much audio the client may have sent that `_taken` has not told of."""
        self._backlog = AudioBacklog(self.window_bytes, slice_bytes)
        self._taken = TakenAudio(number, self.window_bytes, send, now_ns)
        self._passes = InterruptedPasses(number, StepKind.LISTEN, attend)
        self._longest_frame_milliseconds = 0
        self._last_audio_ns = 0
        self._closing = False

    def request(self, request: SessionMessage) -> None:
        """Takes what the client sends, in its order."""
        if self._closing:
            return
        lags = bool(self._backlog)
        match request:
            case HearAudio():
                self._take(request.pcm)
            case GrantRoom():
                raise VoxFleetError(FailureClass.INVALID_INPUT, "a session that listens takes no room; leave it out")
            case FileBytes():
                raise VoxFleetError(
                    FailureClass.INVALID_INPUT, "the session was opened for audio in frames; send HearAudio"
                )
            case _:
                self._backlog.add(request)
        if not lags:  # else it waits for a step: whatever a client sends ahead, a cancel behind it is soon read
            self._work_off_backlog(_STEP_SLICES)

    @property
    def ended(self) -> bool:
        """No more audio comes, and all of it has its text."""
        return self._closing and not self._ended

    def waiting_step(self) -> WaitingStep | None:
        if self._ended:
            waits_since_ns = max(self._ended[0].ended_ns, self._last_text_ns)
            return WaitingStep(StepKind.FINAL, waits_since_ns, self._number)
        if self._backlog:
            return WaitingStep(StepKind.LISTEN, self._last_audio_ns, self._number)
        turn = self._open
        if turn is not None and turn.due_since_ns is not None and self._now_ns() >= turn.rests_until_ns:
            return WaitingStep(StepKind.PARTIAL, turn.due_since_ns, self._number)
        return None

    def run_step(self) -> None:
        """Runs the step that `waiting_step` tells of. Raises GpuFaultError."""
        if self._ended:
            if self._finish_turn(self._ended[0]):
                self._ended.popleft()
                self._last_text_ns = self._now_ns()
                self._drop_audio()
        elif self._backlog:
            self._work_off_backlog(_STEP_SLICES)
        elif self._open is not None:
            self._hear_so_far(self._open)

    def due_ns(self) -> int | None:
        """When the clock has something to do, on the monotonic clock."""
        turn, moments = self._open, [self._turn_ends_ns()]
        if turn is not None and turn.due_since_ns is not None:
            moments.append(turn.rests_until_ns)
        return min((moment for moment in moments if moment is not None), default=None)

    def _turn_ends_ns(self) -> int | None:
        """When the open turn ends though no audio comes any more."""
        due_milliseconds = None if self._backlog or self._open is None else self._turns.due_milliseconds()
        if due_milliseconds is None:
            return None
        patience = due_milliseconds + self._longest_frame_milliseconds + LATE_MILLISECONDS
        return self._last_audio_ns + patience * 1_000_000

    def end_overdue_turn(self, now_ns: int) -> None:
        due_ns = self._turn_ends_ns()
        if due_ns is not None and now_ns >= due_ns:
            self._commit()

    def close(self) -> None:
        """Lets go of its audio."""
        self._passes.cancelled = True
        self._ring.drop_before(self._ring.end_frame)
        self._backlog.clear()

    def summary(self) -> SessionSummary:
        return SessionSummary()

    def _take(self, pcm: bytes) -> None:
        if len(pcm) % SAMPLE_BYTES:
            raise VoxFleetError(
                FailureClass.INVALID_INPUT, "HearAudio has half a sample; send whole samples of 16 bits"
            )
        self._backlog.add_audio(pcm)
        self._last_audio_ns = self._now_ns()
        milliseconds = len(pcm) // SAMPLE_BYTES * 1000 // self._client_rate_hz
        self._longest_frame_milliseconds = max(self._longest_frame_milliseconds, milliseconds)

    def _work_off_backlog(self, most_slices: int) -> None:
        for _ in range(most_slices):
            if not self._backlog or not self._has_room():
                return
            match self._backlog.take():
                case bytes() as pcm:
                    self._taken.add(len(pcm))
                    self._hear(self._audio.feed(pcm))
                case CommitTurn():
                    self._commit()
                case ClearTurn():
                    self._hear(self._audio.flush())
                    self._follow(self._turns.clear())
                case EndSession():
                    self._hear(self._audio.flush())
                    self._follow(self._turns.finish())
                    self._closing = True
                    self._taken.tell()
                    self._backlog.clear()

    def _has_room(self) -> bool:
        # A filter may give out more at once than it was given.
        room_frames = self._ring_frames - (self._ring.end_frame - self._ring.start_frame)
        return len(self._ended) < MOST_WAITING_TURNS and (
            not self._ended or room_frames >= 4 * self._rate_hz * _SLICE_MILLISECONDS // 1000
        )

    def _commit(self) -> None:
        self._hear(self._audio.flush())
        self._follow(self._turns.commit())

    def _hear(self, samples: Samples) -> None:
        if not len(samples):
            return
        self._ring.write(samples)
        self._follow(self._turns.hear(samples))
        turn = self._open
        if turn is not None:
            self._note_due(turn)
        self._drop_audio()

    def _note_due(self, turn: _Turn) -> None:
        """Notes whether another pass over the open turn is due, now that audio has come."""
        if self._partial_frames is None:
            return
        if turn.stream is None and self._ring.end_frame - turn.start_frame > self._most_partial_frames:
            turn.due_since_ns = None
        elif turn.due_since_ns is None and self._ring.end_frame - turn.heard_to_frame >= self._partial_frames:
            turn.due_since_ns = self._now_ns()

    def _follow(self, events: list[TurnEvent]) -> None:
        for event in events:
            match event:
                case TurnBegan():
                    start_frame = max(event.start_frame, self._ring.start_frame)
                    self._open = _Turn(
                        self._next_turn, start_frame, self._hearing.open_stream(), heard_to_frame=start_frame
                    )
                    self._next_turn += 1
                    if self._detects:
                        started = self._milliseconds(self._open.start_frame)
                        self._tell(SpeechStarted, turn=self._open.number, audio_milliseconds=started)
                case SpeechEnded() if self._open is not None and self._detects:
                    self._open.voiced_end_frame = event.end_frame
                    stopped = self._milliseconds(event.end_frame)
                    self._tell(SpeechStopped, turn=self._open.number, audio_milliseconds=stopped)
                case TurnEnded() if self._open is not None:
                    turn, self._open = self._open, None
                    turn.end_frame, turn.ended_ns = event.end_frame, self._now_ns()
                    self._ended.append(turn)
                    self._tell(TurnCommitted, turn=turn.number)
                case TurnCleared() if self._open is not None:
                    turn, self._open = self._open, None
                    if self._detects:
                        self._tell(TurnDropped, turn=turn.number)
        self._drop_audio()

    def _drop_audio(self) -> None:
        """Lets go of audio that no turn holds, nor one that may still begin."""
        if self._ended:
            self._ring.drop_before(self._ended[0].start_frame)
        elif self._open is not None:
            self._ring.drop_before(self._open.start_frame)
        else:
            kept_frames = min(self._turns.kept_frames, self._ring_frames // 2)
            self._ring.drop_before(max(self._ring.start_frame, self._ring.end_frame - kept_frames))

    def _hear_so_far(self, turn: _Turn) -> None:
        end_frame = self._ring.end_frame
        if turn.stream is None:
            samples = self._ring.read(turn.start_frame, end_frame)
            started_ns = self._now_ns()
            with self._long_step(samples) as reached:
                between = self._passes.between(reached, self._milliseconds(len(samples)))
                text = self._hearing.partial(samples, between)
            turn.heard_to_frame, turn.due_since_ns = end_frame, None
            ended_ns = self._now_ns()
            took_ns = ended_ns - started_ns - self._passes.take_away_ns()
            turn.rests_until_ns = ended_ns + PARTIAL_REST_FACTOR * took_ns
            if turn is self._open or turn in self._ended:  # else it was cleared meanwhile
                self._tell_text(turn, turn.text.update(text))
        else:
            turn.stream.feed(self._ring.read(turn.heard_to_frame, end_frame))
            turn.heard_to_frame = end_frame
            self._hearing.step(turn.stream)
            turn.due_since_ns = None if turn.stream.idle else self._now_ns()
            self._tell_text(turn, turn.text.finish(turn.stream.text))

    def _finish_turn(self, turn: _Turn) -> bool:
        """Hears an ended turn, or a step of it; returns whether it is done."""
        started_ns = turn.taken_up_ns = turn.taken_up_ns or self._now_ns()
        failure: VoxFleetError | None = None
        language: str | None = None
        try:
            transcript = self._heard_to_the_end(turn)
            if transcript is None:
                return False
            language = transcript.language
            self._tell_text(turn, turn.text.finish(transcript.text))
        except VoxFleetError as error:
            failure = error
        voiced_end = turn.voiced_end_frame
        self._tell(
            TurnDone,
            turn=turn.number,
            text=turn.text.text,
            failure_class=None if failure is None else failure.failure_class,
            reason="" if failure is None else failure.message[:REASON_CHARACTERS],
            start_milliseconds=self._milliseconds(turn.start_frame),
            end_milliseconds=self._milliseconds(turn.end_frame),
            voiced_end_milliseconds=voiced_end and self._milliseconds(voiced_end),
            language=language,
            revisions=turn.text.revisions,
            wait_milliseconds=(started_ns - turn.ended_ns) // 1_000_000,
            infer_milliseconds=(self._now_ns() - started_ns - self._passes.take_away_ns()) // 1_000_000,
        )
        return True

    def _heard_to_the_end(self, turn: _Turn) -> Transcript | None:
        """None: the stream takes another step."""
        samples = self._ring.read(turn.start_frame, turn.end_frame)
        if turn.stream is None:
            with self._long_step(samples) as reached:
                between = self._passes.between(reached, self._milliseconds(len(samples)))
                return self._hearing.final(samples, between)
        if turn.heard_to_frame < turn.end_frame:
            turn.stream.feed(samples[turn.heard_to_frame - turn.start_frame :])
            turn.heard_to_frame = turn.end_frame
        turn.stream.close()
        with self._long_step(samples) as reached:
            self._hearing.step(turn.stream)
            self._tell_text(turn, turn.text.finish(turn.stream.text))
            return self._hearing.final_of_stream(turn.stream, samples, reached) if turn.stream.done else None

    def _long_step(self, samples: Samples) -> AbstractContextManager[Reached]:
        return long_step(self._send, self._milliseconds(len(samples)))

    def _tell_text(self, turn: _Turn, text: str) -> None:
        if text:
            self._tell(TextDelta, turn=turn.number, text=text)

    def _tell(self, answer: Callable[..., Message], **fields: object) -> None:
        if not self._passes.cancelled:
            self._send(answer(session=self._number, **fields))

    def _milliseconds(self, frame: int) -> int:
        return frame * 1000 // self._rate_hz
