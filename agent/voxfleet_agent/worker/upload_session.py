"""One session that hears a recording: the bytes of its file come in, and each of its pieces is a turn.

The recording is judged, decoded and cut as a clip of a batch, and each piece is a step of its own, so that others are
heard in between. What would fail the clip ends the session, with the same class and reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from voxfleet_agent.engine.unspoken_text import Span
from voxfleet_agent.engine.window_times import placed
from voxfleet_agent.lane_protocol.messages import Message
from voxfleet_agent.lane_protocol.session_messages import (
    AudioTaken,
    EndSession,
    FileBytes,
    SessionMessage,
    TextDelta,
    TurnCommitted,
    TurnDone,
)
from voxfleet_agent.worker.audio_backlog import TakenAudio
from voxfleet_agent.worker.interrupted_pass import Attend, InterruptedPasses, nobody_else
from voxfleet_agent.worker.long_step import long_step
from voxfleet_agent.worker.session_summary import SessionSummary
from voxfleet_agent.worker.step_order import StepKind, WaitingStep
from voxfleet_agent.worker.transcript_judge import shifted_spans, text_warnings
from voxfleet_agent.worker.turn_hearing import TurnHearing
from voxfleet_agent.worker.upload_decoding import UploadDecoding, UploadedPiece, UploadEnd, most_decoding_seconds
from voxfleet_agent.worker.uploaded_file import UploadedFile
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.session_protocol import MAX_CONTROL_BYTES

WINDOW_BYTES = 2**19
"""Bytes of files wait for the model only while a step runs."""
_ENVELOPE_BYTES = 2**14
"""What the agent's message to the gateway may take beyond the child's to the agent."""
LIFE_SECONDS = 5
"""How often a session that waits for its decoder tells its parent, who gives up a child that is silent for long."""

StartDecoding = Callable[[UploadedFile], UploadDecoding]


class UploadSession:
    """On the thread that owns the model. Its methods raise VoxFleetError, with which the session ends."""

    window_bytes = WINDOW_BYTES

    def __init__(
        self,
        number: int,
        hearing: TurnHearing,
        file: UploadedFile,
        start_decoding: StartDecoding,
        *,
        max_bytes: int,
        longest_piece_milliseconds: int,
        release: Callable[[], None],
        send: Callable[[Message], None],
        attend: Attend = nobody_else,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`start_decoding` takes the file over: whoever decodes it closes it. `release` is called if it never began."""
        self._number = number
        self._hearing = hearing
        self._file: UploadedFile | None = file
        self._start_decoding = start_decoding
        self._max_bytes = max_bytes
        self._longest_piece_milliseconds = longest_piece_milliseconds
        self._release = release
        self._send = send
        self._now_ns = now_ns
        self._taken = TakenAudio(number, WINDOW_BYTES, send, now_ns)
        self._passes = InterruptedPasses(number, StepKind.PARTIAL, attend)
        self._decoding: UploadDecoding | None = None
        self._most_decoding_seconds = 0.0
        self._told_life_ns = 0
        self._next_turn = 0
        self._last_text_ns = 0
        self._unspoken: list[Span] = []
        self._repeated: list[Span] = []
        self._audio_milliseconds: int | None = None
        self.ended = False
        """The whole recording has its text."""

    def request(self, request: SessionMessage) -> None:
        if self._file is None:
            return  # its end was told
        match request:
            case FileBytes():
                if self._file.size_bytes + len(request.content) > self._max_bytes:
                    raise VoxFleetError(
                        FailureClass.INVALID_INPUT,
                        f"the file is longer than {self._max_bytes} bytes; send a shorter one, or raise"
                        " session.maxUploadBytes",
                    )
                self._append(self._file, request.content)
                self._taken.add(len(request.content))
            case EndSession():
                self._taken.tell()
                self._most_decoding_seconds = most_decoding_seconds(
                    self._longest_piece_milliseconds, self._file.size_bytes
                )
                self._decoding, self._file = self._start_decoding(self._file), None
            case _:
                raise VoxFleetError(
                    FailureClass.INVALID_INPUT, f"a session that hears a file takes no {type(request).__name__}"
                )

    def waiting_step(self) -> WaitingStep | None:
        if self._decoding is None or not self._decoding.ready:
            return None
        return WaitingStep(StepKind.FINAL, max(self._decoding.since_ns, self._last_text_ns), self._number)

    def run_step(self) -> None:
        """Hears the next piece. Raises GpuFaultError."""
        if self._decoding is None:
            return
        wait_ns = self._now_ns() - self._decoding.since_ns
        match self._decoding.take():
            case UploadedPiece() as piece:
                self._hear(piece, wait_ns)
                self._last_text_ns = self._now_ns()
            case UploadEnd() as end:
                self._finish(end)

    def close(self) -> None:
        """Lets go of the file, wherever its decoding stands."""
        self._passes.cancelled = True
        if self._file is not None:
            file, self._file = self._file, None
            file.close()
            self._release()
        if self._decoding is not None:
            self._decoding.close()

    def summary(self) -> SessionSummary:
        return SessionSummary(audio_milliseconds=self._audio_milliseconds)

    def due_ns(self) -> int | None:
        """When decoding counts as endless, or the parent is to hear of it."""
        ends_ns = self._decoding_ends_ns()
        return None if ends_ns is None else min(ends_ns, self._life_is_due_ns())

    def end_overdue_turn(self, now_ns: int) -> None:
        ends_ns = self._decoding_ends_ns()
        if ends_ns is None:
            return
        if now_ns >= ends_ns:
            raise VoxFleetError(
                FailureClass.DECODE_ERROR, f"decoding it did not come to an end in {self._most_decoding_seconds:.0f} s"
            )
        if now_ns >= self._life_is_due_ns():
            self._told_life_ns = now_ns
            self._tell(AudioTaken(session=self._number, total_bytes=self._taken.total_bytes))

    def _decoding_ends_ns(self) -> int | None:
        if self._decoding is None or self._decoding.ready:
            return None
        return self._decoding.since_ns + int(self._most_decoding_seconds * 1e9)

    def _life_is_due_ns(self) -> int:
        since_ns = 0 if self._decoding is None else self._decoding.since_ns
        return max(self._told_life_ns, since_ns) + LIFE_SECONDS * 1_000_000_000

    def _append(self, file: UploadedFile, content: bytes) -> None:
        try:
            file.append(content)
        except OSError as error:
            raise VoxFleetError(
                FailureClass.SCRATCH_EXHAUSTED, f"the lane cannot keep the upload: {error.strerror}; check its memory"
            ) from error

    def _hear(self, piece: UploadedPiece, wait_ns: int) -> None:
        turn, self._next_turn = self._next_turn, self._next_turn + 1
        self._tell(TurnCommitted(session=self._number, turn=turn))
        milliseconds = len(piece.samples) * 1000 // self._hearing.sample_rate_hz
        started_ns = self._now_ns()
        with long_step(self._send, milliseconds) as reached:
            between = self._passes.between(reached, milliseconds)
            transcript, judgement = self._hearing.judged(piece.samples, piece, between)
        infer_ns = self._now_ns() - started_ns - self._passes.take_away_ns()
        self._unspoken += shifted_spans(judgement.unspoken, piece.start_milliseconds)
        self._repeated += shifted_spans(judgement.repeated, piece.start_milliseconds)
        done = TurnDone(
            session=self._number,
            turn=turn,
            text=transcript.text,
            start_milliseconds=piece.start_milliseconds,
            end_milliseconds=piece.end_milliseconds,
            language=transcript.language,
            segments=placed((piece.start_milliseconds, piece.end_milliseconds), transcript.segments),
            wait_milliseconds=wait_ns // 1_000_000,
            infer_milliseconds=infer_ns // 1_000_000,
        )
        if len(done.model_dump_json()) > MAX_CONTROL_BYTES - _ENVELOPE_BYTES:
            raise VoxFleetError(
                FailureClass.INFERENCE_ERROR,
                f"the text of a piece takes more than {MAX_CONTROL_BYTES >> 10} KiB; declare conversions.windows",
            )
        if transcript.text:
            self._tell(TextDelta(session=self._number, turn=turn, text=transcript.text))
        self._tell(done)

    def _finish(self, end: UploadEnd) -> None:
        if end.failure is not None:
            raise end.failure
        self._audio_milliseconds = end.audio_milliseconds
        warnings = text_warnings(self._unspoken, self._repeated, end.audio_milliseconds)
        if warnings and self._hearing.quarantines:
            raise VoxFleetError(FailureClass.UNSPOKEN_TEXT, "; ".join(warning.message for warning in warnings))
        self.ended = True

    def _tell(self, answer: Message) -> None:
        if not self._passes.cancelled:
            self._send(answer)
