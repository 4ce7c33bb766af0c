"""The child's work on audio: pieces from the ring through the model, one verdict for each clip."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from voxfleet_agent.audio.ring_buffer import BYTES_PER_FRAME, RingBuffer
from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.lane_protocol.failure_marks import gpu_abort, names_want_of_memory
from voxfleet_agent.lane_protocol.messages import REASON_CHARACTERS, InferringClips, Message, VerdictMessage
from voxfleet_agent.worker.decode_thread import ClipJob, Decoded, Mask, Piece, Samples
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.results import TimedText


class GpuFaultError(Exception):
    """The GPU gave up; the text names Metal's fault."""


class Transcriber(Protocol):
    """engine.transcriber.SpeechModel, as far as it is used here."""

    sample_rate_hz: int
    family: str
    batches: bool
    parameters: int

    def transcribe(self, clips: Sequence[Samples], *, enlarged: bool = False) -> list[Transcript]: ...

    def warm_up(self) -> None: ...


Shortfall = Callable[[Transcript, Mask, int], str | None]


@dataclass(slots=True)
class _ClipState:
    job: ClipJob
    transcripts: dict[int, tuple[int, Transcript]] = field(default_factory=dict)
    """By number of the piece: its start in milliseconds and what was heard."""
    decoded: Decoded | None = None
    wait_milliseconds: int = 0
    infer_milliseconds: int = 0
    batch_size: int = 1
    retried_for: tuple[FailureClass, ...] = ()


@dataclass(slots=True)
class _PendingPiece:
    """A piece out of the ring."""

    clip: _ClipState
    piece: Piece
    samples: Samples
    bisected_for: tuple[FailureClass, ...] = ()
    """What the groups met that it was in before the last one."""
    failure_class: FailureClass | None = None
    reason: str = ""
    transcript: Transcript | None = None


class ClipTranscription:
    """Batches of clips on the thread that owns the model. Pieces and ends of clips come in the order of decoding."""

    def __init__(
        self,
        model: Transcriber,
        ring: RingBuffer,
        shortfall: Shortfall,
        min_coverage_percent: int,
        room_bytes: int,
        tell: Callable[[Message], None],
    ) -> None:
        """`room_bytes`: most audio that waits outside of the ring, counted as the padded batch that it becomes."""
        self._model = model
        self._ring = ring
        self._shortfall = shortfall
        self._min_coverage_percent = min_coverage_percent
        self._room_frames = room_bytes // BYTES_PER_FRAME
        self._tell = tell
        self._clips: dict[ClipJob, _ClipState] = {}
        self._waiting: list[_PendingPiece] = []
        self._together = 1
        self.memory_short = False
        """A group did not fit in memory, though each of it alone did; whoever reads it sets it back."""

    def begin(self, jobs: Iterable[ClipJob], together: int) -> None:
        """Takes up the clips of the next batch."""
        self._together = together if self._model.batches else 1
        for job in jobs:
            self._clips[job] = _ClipState(job)

    def has_room(self, piece: Piece) -> bool:
        """Whether it may wait beside those that wait already."""
        longest = max((heard.samples.shape[0] for heard in self._waiting), default=0)
        together = (len(self._waiting) + 1) * max(longest, piece.slot.frames)
        return not self._waiting or together <= self._room_frames

    def piece(self, piece: Piece) -> None:
        """Takes a piece out of the ring, so that decoding goes on."""
        clip = self._clips.get(piece.job)
        if clip is None:  # a piece before this one failed
            self._ring.drop(piece.slot)
            return
        self._waiting.append(_PendingPiece(clip, piece, self._ring.take(piece.slot)))

    def decoded(self, decoded: Decoded) -> None:
        """A clip is decoded to its end, or could not be."""
        clip = self._clips.get(decoded.job)
        if clip is None:
            return
        clip.decoded = decoded
        if decoded.failure is None:
            self._finish(clip)
            return
        if any(heard.clip is clip for heard in self._waiting) or clip.transcripts:
            self._ring.resets[decoded.failure.failure_class.value] += 1
        self._fail(clip, decoded.failure.failure_class, decoded.failure.message)

    def infer(self, *, all_that_waits: bool) -> bool:
        """Runs the model once enough pieces have come, or on whatever is there. Returns whether it ran."""
        if not self._waiting or (len(self._waiting) < self._together and not all_that_waits):
            return False
        waiting, self._waiting = self._waiting, []
        for group in similar_lengths([heard.samples.shape[0] for heard in waiting], self._together):
            self._infer([waiting[position] for position in group])
        return True

    def _infer(self, group: list[_PendingPiece]) -> None:
        # A clip may have failed with another piece of it, in the group before.
        group = [heard for heard in group if not heard.clip.job.abandoned]
        if not group:
            return
        started_ns = time.monotonic_ns()
        self._transcribe(group)
        infer_milliseconds = (time.monotonic_ns() - started_ns) // 1_000_000
        clips = {id(heard.clip): heard.clip for heard in group}
        for clip in clips.values():
            clip.infer_milliseconds += infer_milliseconds
            clip.batch_size = max(clip.batch_size, len(clips))
        for heard in group:
            heard.clip.wait_milliseconds = max(0, started_ns - heard.piece.written_ns) // 1_000_000
        for heard in group:
            self._judge(heard)
        self._tell(InferringClips())

    def _transcribe(self, group: list[_PendingPiece], *, enlarged: bool = False) -> None:
        """Fills in a transcript or a failure for each; a group that fails is bisected down to the piece at fault."""
        self._announce(group)
        try:
            transcripts = self._model.transcribe([heard.samples for heard in group], enlarged=enlarged)
            if len(transcripts) != len(group):
                raise TypeError(f"the model returned {len(transcripts)} transcripts for {len(group)} clips")
        except Exception as error:  # a model's code raises what it likes; the verdict names the type
            if gpu_abort(str(error)) is not None:
                raise GpuFaultError(str(error)) from error
            failure_class, reason = failure_of(error)
        else:
            for heard, transcript in zip(group, transcripts, strict=True):
                heard.transcript = transcript
            return
        # Outside of the handler, so that what the failed batch held is free.
        if len(group) == 1:
            group[0].failure_class, group[0].reason = failure_class, reason
            return
        for heard in group:
            heard.bisected_for += (failure_class,)
        middle = len(group) // 2
        self._transcribe(group[:middle], enlarged=enlarged)
        self._transcribe(group[middle:], enlarged=enlarged)
        # A piece that is too large even alone explains the group's failure: the others would have fitted.
        if failure_class is FailureClass.MEMORY_EXCEEDED and failure_class not in {h.failure_class for h in group}:
            self.memory_short = True

    def _judge(self, heard: _PendingPiece) -> None:
        clip = heard.clip
        if clip.job.abandoned:
            return
        reason = self._incomplete(heard)
        if reason is not None:
            self._transcribe([heard], enlarged=True)
            clip.retried_for += (FailureClass.TRUNCATED_OUTPUT,)
            reason = self._incomplete(heard)
        if heard.failure_class is not None:
            # Of a clip that fails alone in the end, the groups' troubles were its own.
            clip.retried_for = (*heard.bisected_for, *clip.retried_for)
            self._fail(clip, heard.failure_class, heard.reason)
        elif reason is not None:
            self._fail(clip, FailureClass.TRUNCATED_OUTPUT, reason)
        elif heard.transcript is not None:
            clip.transcripts[heard.piece.number] = (heard.piece.start_milliseconds, heard.transcript)
            self._finish(clip)

    def _incomplete(self, heard: _PendingPiece) -> str | None:
        """Why the transcript does not cover the piece; None: it does, or there is none."""
        if heard.failure_class is not None or heard.transcript is None:
            return None
        return self._shortfall(heard.transcript, heard.piece.speech, self._min_coverage_percent)

    def _finish(self, clip: _ClipState) -> None:
        """Answers once the clip is decoded and all of its pieces are heard."""
        decoded = clip.decoded
        if decoded is None or len(clip.transcripts) < decoded.pieces:
            return
        windows = [clip.transcripts[number] for number in sorted(clip.transcripts)]
        whole = within(joined(windows), decoded.audio_milliseconds)
        self._close(clip)
        self._tell(
            VerdictMessage(
                index=clip.job.clip.index,
                text=whole.text,
                segments=whole.segments,
                words=whole.words,
                language=whole.language,
                audio_milliseconds=decoded.audio_milliseconds,
                attestation=decoded.attestation,
                decode_milliseconds=decoded.decode_milliseconds,
                wait_milliseconds=clip.wait_milliseconds,
                infer_milliseconds=clip.infer_milliseconds,
                batch_size=clip.batch_size,
                retried_for=clip.retried_for,
            )
        )

    def _fail(self, clip: _ClipState, failure_class: FailureClass, reason: str) -> None:
        decoded = clip.decoded
        self._close(clip)
        if decoded is None:  # later windows are on their way and are dropped
            self._ring.resets[failure_class.value] += 1
        self._tell(
            VerdictMessage(
                index=clip.job.clip.index,
                failure_class=failure_class,
                reason=reason[:REASON_CHARACTERS],
                audio_milliseconds=0 if decoded is None else decoded.audio_milliseconds,
                attestation=None if decoded is None else decoded.attestation,
                decode_milliseconds=0 if decoded is None else decoded.decode_milliseconds,
                wait_milliseconds=clip.wait_milliseconds,
                infer_milliseconds=clip.infer_milliseconds,
                batch_size=clip.batch_size,
                retried_for=clip.retried_for,
            )
        )

    def _close(self, clip: _ClipState) -> None:
        clip.job.abandoned = True
        self._clips.pop(clip.job, None)
        self._waiting = [heard for heard in self._waiting if heard.clip is not clip]

    def _announce(self, group: Sequence[_PendingPiece]) -> None:
        indexes = tuple(dict.fromkeys(heard.clip.job.clip.index for heard in group))
        frames = sum(heard.samples.shape[0] for heard in group)
        self._tell(InferringClips(indexes=indexes, audio_milliseconds=frames * 1000 // self._model.sample_rate_hz))


def joined(windows: Sequence[tuple[int, Transcript]]) -> Transcript:
    """One transcript of (start in milliseconds, transcript) of each window, in order; times count from the first."""
    if len(windows) == 1 and windows[0][0] == 0:
        return windows[0][1]
    transcripts = [transcript for _, transcript in windows]
    segments = [(start, transcript.segments) for start, transcript in windows]
    words = [(start, transcript.words) for start, transcript in windows]
    return Transcript(
        text=" ".join(transcript.text for transcript in transcripts if transcript.text),
        segments=_shifted(segments),
        words=_shifted(words),
        language=next((transcript.language for transcript in transcripts if transcript.language), None),
        token_limit_reached=any(transcript.token_limit_reached for transcript in transcripts),
    )


def within(transcript: Transcript, audio_milliseconds: int) -> Transcript:
    """With no time behind the end of the audio: a model's frames reach beyond it."""

    def cut(timed: tuple[TimedText, ...] | None) -> tuple[TimedText, ...] | None:
        if timed is None or all(part.end_milliseconds <= audio_milliseconds for part in timed):
            return timed
        return tuple(
            TimedText(
                start_milliseconds=min(part.start_milliseconds, audio_milliseconds),
                end_milliseconds=min(part.end_milliseconds, audio_milliseconds),
                text=part.text,
            )
            for part in timed
        )

    return replace(transcript, segments=cut(transcript.segments), words=cut(transcript.words))


def _shifted(windows: Sequence[tuple[int, tuple[TimedText, ...] | None]]) -> tuple[TimedText, ...] | None:
    """None when a window has no times."""
    shifted: list[TimedText] = []
    for start, timed in windows:
        if timed is None:
            return None
        shifted += [
            TimedText(
                start_milliseconds=start + part.start_milliseconds,
                end_milliseconds=start + part.end_milliseconds,
                text=part.text,
            )
            for part in timed
        ]
    return tuple(shifted)


def failure_of(error: Exception) -> tuple[FailureClass, str]:
    """Class and reason of what a model raised alone with one clip or text."""
    if isinstance(error, VoxFleetError):
        return error.failure_class, error.message
    short = isinstance(error, MemoryError) or names_want_of_memory(str(error))
    failure_class = FailureClass.MEMORY_EXCEEDED if short else FailureClass.INFERENCE_ERROR
    return failure_class, f"the model raised {type(error).__name__}"


MAX_STRETCH = 2
"""The longest piece of a group has at most so many times the frames of the shortest: the rest would be padding."""


def similar_lengths(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Positions in `lengths`, shortest first, in groups of at most `size` of similar length."""
    result: list[list[int]] = []
    for position in sorted(range(len(lengths)), key=lambda position: (lengths[position], position)):
        group = result[-1] if result else None
        if group is None or len(group) >= size or lengths[position] > MAX_STRETCH * lengths[group[0]]:
            result.append([position])
        else:
            group.append(position)
    return result
