"""The child's work on audio: pieces from the ring go through the model, and each clip gets a verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from voxfleet_agent.audio.ring_buffer import BYTES_PER_FRAME, RingBuffer
from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.engine.unspoken_text import Span
from voxfleet_agent.engine.window_times import join_windows
from voxfleet_agent.lane_protocol.failure_marks import gpu_abort, names_lack_of_memory
from voxfleet_agent.lane_protocol.messages import (
    REASON_CHARACTERS,
    HeardAudio,
    InferringClips,
    Message,
    VerdictMessage,
)
from voxfleet_agent.worker.decode_thread import ClipJob, Decoded, Piece, Samples
from voxfleet_agent.worker.transcript_judge import Judgement, TranscriptJudge, shifted_spans, text_warnings
from voxfleet_api.failures import FailureClass, VoxFleetError


class GpuFaultError(Exception):
    """The GPU gave up the work; the text names Metal's fault."""


class Transcriber(Protocol):
    """The part of engine.transcriber.MlxTranscriber that is used here."""

    sample_rate_hz: int
    family: str
    batches: bool
    parameters: int
    dtype: str
    tells_progress: bool

    def transcribe(
        self, clips: Sequence[Samples], *, enlarged: bool = False, heard: Callable[[int], None] | None = None
    ) -> list[Transcript]: ...

    def warm_up(self) -> None: ...


@dataclass(slots=True)
class _ClipState:
    job: ClipJob
    transcripts: dict[int, tuple[int, Transcript]] = field(default_factory=dict)
    """By piece number: the start in milliseconds, and the transcript."""
    decoded: Decoded | None = None
    wait_milliseconds: int = 0
    infer_milliseconds: int = 0
    batch_size: int = 1
    retried_for: tuple[FailureClass, ...] = ()
    unspoken: list[Span] = field(default_factory=list)
    """Where the clip has text and no audible speech."""
    repeated: list[Span] = field(default_factory=list)
    """Where its text repeats a phrase faster than anybody speaks."""
    failure: tuple[FailureClass, str] | None = None
    """It awaits its end, which tells its length."""


@dataclass(slots=True)
class _PendingPiece:
    """A piece that was taken out of the ring and awaits its transcript."""

    clip: _ClipState
    piece: Piece
    samples: Samples
    bisected_for: tuple[FailureClass, ...] = ()
    """How the groups of several pieces that contained this one failed."""
    failure_class: FailureClass | None = None
    reason: str = ""
    transcript: Transcript | None = None


class ClipTranscription:
    """Transcribes batches of clips on the thread that owns the model.

    Pieces and ends of clips come in the order of decoding.
    """

    def __init__(
        self,
        model: Transcriber,
        ring: RingBuffer,
        judge: TranscriptJudge,
        room_bytes: int,
        send: Callable[[Message], None],
        attend: Callable[[], int] = lambda: 0,
    ) -> None:
        """`room_bytes`: the most audio that waits outside of the ring, counted as the padded batch that it becomes.

        `attend` is called in the middle of a clip, between two windows of a model that tells its progress; it returns
        how many nanoseconds went to others.
        """
        self._model = model
        self._ring = ring
        self._judge = judge
        self._room_frames = room_bytes // BYTES_PER_FRAME
        self._send = send
        self._attend = attend
        self._away_ns = 0
        """How long others were attended to, since this group began."""
        self._clips: dict[ClipJob, _ClipState] = {}
        self._waiting: list[_PendingPiece] = []
        self._batch_size = 1
        self.memory_short = False
        """Whether a group did not fit in memory though each of its pieces did; the reader resets it."""

    def add_batch(self, jobs: Iterable[ClipJob], batch_size: int) -> None:
        """Registers the clips of the next batch, before any of their pieces."""
        self._batch_size = batch_size if self._model.batches else 1
        for job in jobs:
            self._clips[job] = _ClipState(job)

    def has_room(self, piece: Piece) -> bool:
        """Whether the piece may wait beside the ones that already wait."""
        longest = max((pending.samples.shape[0] for pending in self._waiting), default=0)
        padded_frames = (len(self._waiting) + 1) * max(longest, piece.slot.frames)
        return not self._waiting or padded_frames <= self._room_frames

    def add_piece(self, piece: Piece) -> None:
        """Moves a piece out of the ring, so that decoding goes on."""
        clip = self._clips.get(piece.job)
        if clip is None or clip.failure is not None:  # an earlier piece failed
            self._ring.drop(piece.slot)
            return
        self._waiting.append(_PendingPiece(clip, piece, self._ring.take(piece.slot)))

    def add_end(self, decoded: Decoded) -> None:
        """Records that a clip has been decoded to its end, or could not be decoded."""
        clip = self._clips.get(decoded.job)
        if clip is None:
            return
        clip.decoded = decoded
        if decoded.failure is not None:
            if any(pending.clip is clip for pending in self._waiting) or clip.transcripts:
                self._ring.resets[decoded.failure.failure_class.value] += 1
            # A clip that is damaged is refused for it, however far the model has come.
            self._fail(clip, decoded.failure.failure_class, decoded.failure.message)
        elif clip.failure is not None:
            self._send_failure(clip, decoded, *clip.failure)
        else:
            self._finish_if_complete(clip)

    def infer(self, *, all_waiting: bool) -> bool:
        """Runs the model if a full batch of pieces waits, or any piece with `all_waiting`; returns whether it ran."""
        steps = self.infer_in_steps(all_waiting=all_waiting)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return bool(end.value)

    def infer_in_steps(self, *, all_waiting: bool) -> Generator[None, None, bool]:
        """As `infer`, and yields after each group, so that the model may be used for others in between."""
        if not self._waiting or (len(self._waiting) < self._batch_size and not all_waiting):
            return False
        waiting, self._waiting = self._waiting, []
        for group in group_by_length([pending.samples.shape[0] for pending in waiting], self._batch_size):
            self._infer_group([waiting[position] for position in group])
            yield
        return True

    def _infer_group(self, group: list[_PendingPiece]) -> None:
        # A clip may have failed on another of its pieces, in an earlier group.
        group = [pending for pending in group if not pending.clip.job.abandoned]
        if not group:
            return
        started_ns, self._away_ns = time.monotonic_ns(), 0
        self._transcribe(group)
        infer_milliseconds = (time.monotonic_ns() - started_ns - self._away_ns) // 1_000_000
        clips = {id(pending.clip): pending.clip for pending in group}
        for clip in clips.values():
            clip.infer_milliseconds += infer_milliseconds
            clip.batch_size = max(clip.batch_size, len(clips))
        for pending in group:
            pending.clip.wait_milliseconds = max(0, started_ns - pending.piece.written_ns) // 1_000_000
        for pending in group:
            self._evaluate(pending)
        self._send(InferringClips())

    def _transcribe(self, group: list[_PendingPiece], *, enlarged: bool = False) -> None:
        """Gives each piece a transcript or a failure; a group that fails is bisected down to the pieces at fault."""
        self._announce(group)
        try:
            samples = [pending.samples for pending in group]
            heard = partial(self._told_progress, group[0]) if len(group) == 1 else None
            transcripts = self._model.transcribe(samples, enlarged=enlarged, heard=heard)
            if len(transcripts) != len(group):
                raise TypeError(f"the model returned {len(transcripts)} transcripts for {len(group)} clips")
        except Exception as error:  # a model's code raises what it likes; the verdict names the type
            if gpu_abort(str(error)) is not None:
                raise GpuFaultError(str(error)) from error
            failure_class, reason = inference_failure(error)
        else:
            for pending, transcript in zip(group, transcripts, strict=True):
                pending.transcript = transcript
            return
        # Outside of the exception handler, so that the memory of the failed batch is free.
        if len(group) == 1:
            group[0].failure_class, group[0].reason = failure_class, reason
            return
        for pending in group:
            pending.bisected_for += (failure_class,)
        middle = len(group) // 2
        self._transcribe(group[:middle], enlarged=enlarged)
        self._transcribe(group[middle:], enlarged=enlarged)
        # A piece that is too large even alone explains why its group failed: the others would have fitted.
        alone_too_large = any(pending.failure_class is FailureClass.MEMORY_EXCEEDED for pending in group)
        if failure_class is FailureClass.MEMORY_EXCEEDED and not alone_too_large:
            self.memory_short = True

    def _evaluate(self, pending: _PendingPiece) -> None:
        """Accepts the transcript of a piece, tries once more when it is cut short, or fails the clip."""
        clip = pending.clip
        if clip.job.abandoned:
            return
        started_ns, self._away_ns = time.monotonic_ns(), 0
        judgement = self._judgement(pending)
        if judgement.short is not None:
            self._transcribe([pending], enlarged=True)
            clip.retried_for += (FailureClass.TRUNCATED_OUTPUT,)
            judgement = self._judgement(pending)
        clip.infer_milliseconds += (time.monotonic_ns() - started_ns - self._away_ns) // 1_000_000
        if pending.failure_class is not None:
            # A clip that fails even alone was the cause when its groups failed.
            clip.retried_for = (*pending.bisected_for, *clip.retried_for)
            self._fail(clip, pending.failure_class, pending.reason)
        elif judgement.short is not None:
            self._fail(clip, FailureClass.TRUNCATED_OUTPUT, judgement.short)
        elif pending.transcript is not None:
            piece = pending.piece
            clip.transcripts[piece.number] = (piece.start_milliseconds, pending.transcript)
            clip.unspoken += shifted_spans(judgement.unspoken, piece.start_milliseconds)
            clip.repeated += shifted_spans(judgement.repeated, piece.start_milliseconds)
            self._finish_if_complete(clip)
            if not clip.job.abandoned:  # else the verdict has told it
                self._tell(pending, self._milliseconds(pending), with_results=True)

    def _judgement(self, pending: _PendingPiece) -> Judgement:
        if pending.failure_class is not None or pending.transcript is None:
            return Judgement()
        listened = partial(self._tell, pending, self._milliseconds(pending))
        return self._judge.judge(pending.transcript, pending.piece, pending.samples, listened)

    def _finish_if_complete(self, clip: _ClipState) -> None:
        """Sends the verdict once the clip is decoded and all of its pieces are transcribed."""
        decoded = clip.decoded
        if decoded is None or len(clip.transcripts) < decoded.pieces:
            return
        warnings = text_warnings(clip.unspoken, clip.repeated, decoded.audio_milliseconds)
        if warnings and self._judge.quarantines:
            self._fail(clip, FailureClass.UNSPOKEN_TEXT, "; ".join(warning.message for warning in warnings))
            return
        windows = [clip.transcripts[number] for number in sorted(clip.transcripts)]
        whole = join_windows(windows, decoded.audio_milliseconds)
        clip.job.abandoned = True
        del self._clips[clip.job]
        self._send(
            VerdictMessage(
                index=clip.job.clip.index,
                text=whole.text,
                segments=whole.segments,
                words=whole.words,
                language=whole.language,
                audio_milliseconds=decoded.audio_milliseconds,
                attestation=decoded.attestation,
                warnings=(*decoded.warnings, *warnings),
                decode_milliseconds=decoded.decode_milliseconds,
                wait_milliseconds=clip.wait_milliseconds,
                infer_milliseconds=clip.infer_milliseconds,
                batch_size=clip.batch_size,
                retried_for=clip.retried_for,
            )
        )

    def _fail(self, clip: _ClipState, failure_class: FailureClass, reason: str) -> None:
        """Sends the verdict, or leaves it to the clip's end if that is not decoded yet."""
        clip.job.abandoned = True
        self._waiting = [pending for pending in self._waiting if pending.clip is not clip]
        if clip.decoded is not None:
            self._send_failure(clip, clip.decoded, failure_class, reason)
            return
        clip.failure = (failure_class, reason)
        self._ring.resets[failure_class.value] += 1  # later windows may be on their way, and will be dropped

    def _send_failure(self, clip: _ClipState, decoded: Decoded, failure_class: FailureClass, reason: str) -> None:
        del self._clips[clip.job]
        self._send(
            VerdictMessage(
                index=clip.job.clip.index,
                failure_class=failure_class,
                reason=reason[:REASON_CHARACTERS],
                audio_milliseconds=decoded.audio_milliseconds,
                attestation=decoded.attestation,
                warnings=decoded.warnings,
                decode_milliseconds=decoded.decode_milliseconds,
                wait_milliseconds=clip.wait_milliseconds,
                infer_milliseconds=clip.infer_milliseconds,
                batch_size=clip.batch_size,
                retried_for=clip.retried_for,
            )
        )

    def _announce(self, group: Sequence[_PendingPiece]) -> None:
        indexes = tuple(dict.fromkeys(pending.clip.job.clip.index for pending in group))
        milliseconds = sum(map(self._milliseconds, group))
        signals = self._model.tells_progress and len(group) == 1
        self._send(InferringClips(indexes=indexes, audio_milliseconds=milliseconds, tells_progress=signals))

    def _told_progress(self, pending: _PendingPiece, heard_milliseconds: int) -> None:
        self._tell(pending, heard_milliseconds)
        self._away_ns += self._attend()

    def _tell(self, pending: _PendingPiece, heard_milliseconds: int, *, with_results: bool = False) -> None:
        """Sends how far the model has come in a piece."""
        heard_milliseconds = min(heard_milliseconds, self._milliseconds(pending))
        index, start_milliseconds = pending.clip.job.clip.index, pending.piece.start_milliseconds
        reached_milliseconds = start_milliseconds + heard_milliseconds
        self._send(HeardAudio(index=index, audio_milliseconds=reached_milliseconds, with_results=with_results))

    def _milliseconds(self, pending: _PendingPiece) -> int:
        return len(pending.samples) * 1000 // self._model.sample_rate_hz


def inference_failure(error: Exception) -> tuple[FailureClass, str]:
    """The failure class and reason for an exception that a model raised on a single clip or text."""
    if isinstance(error, VoxFleetError):
        return error.failure_class, error.message
    short = isinstance(error, MemoryError) or names_lack_of_memory(str(error))
    failure_class = FailureClass.MEMORY_EXCEEDED if short else FailureClass.INFERENCE_ERROR
    return failure_class, f"the model raised {type(error).__name__}"


MAX_STRETCH = 2
"""The longest piece of a group has at most this many times the frames of the shortest, to bound the padding."""


def group_by_length(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Groups positions in `lengths`, shortest first: each group has at most `size` positions of similar length."""
    result: list[list[int]] = []
    for position in sorted(range(len(lengths)), key=lambda position: (lengths[position], position)):
        group = result[-1] if result else None
        if group is None or len(group) >= size or lengths[position] > MAX_STRETCH * lengths[group[0]]:
            result.append([position])
        else:
            group.append(position)
    return result
