"""Passes of the model over one turn of a session: quick ones while it is spoken, and the one that counts at its end.

The last pass goes by the rules of a batch's clip: the same completeness, the same second try with a larger token
budget. What it leaves out: warnings of text that nobody spoke, which a turn has no room for (a contract that
quarantines such a clip fails such a turn), and windows, because a turn is never longer than a piece.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.lane_protocol.failure_marks import gpu_abort
from voxfleet_agent.worker.decode_thread import AudibleSpeech, Mask, Samples
from voxfleet_agent.worker.long_step import Reached
from voxfleet_agent.worker.transcribe import GpuFaultError, Transcriber, inference_failure
from voxfleet_agent.worker.transcript_judge import JudgedAudio, Judgement, TranscriptJudge, text_warnings
from voxfleet_api.failures import FailureClass, VoxFleetError

T = TypeVar("T")


def _untold(_: int) -> None: ...


class TurnStream(Protocol):
    """The part of engine.native_stream.NativeStream that is used here."""

    text: str

    @property
    def done(self) -> bool: ...

    @property
    def idle(self) -> bool: ...

    def feed(self, samples: Samples) -> None: ...

    def close(self) -> None: ...

    def step(self) -> None: ...


@runtime_checkable
class StreamingTranscriber(Protocol):
    """A Transcriber that may hear a turn as it is spoken."""

    def open_stream(self) -> TurnStream | None: ...


@runtime_checkable
class MultilingualTranscriber(Protocol):
    """A Transcriber that may be told another language for each of its passes."""

    def in_language(self, language: str) -> Transcriber:
        """Raises VoxFleetError(INVALID_INPUT) for a language that it cannot be told."""
        ...


def in_language(model: Transcriber, language: str | None) -> Transcriber:
    """The model as it hears this language, a code or a name; None: the lane's. Raises VoxFleetError(INVALID_INPUT)."""
    if language is None:
        return model
    if not isinstance(model, MultilingualTranscriber):
        raise VoxFleetError(
            FailureClass.INVALID_INPUT, f"language: the lane's model cannot be told {language}; leave it out"
        )
    return model.in_language(language)


@dataclass(frozen=True, slots=True)
class _HeardTurn:
    """A turn as the judge sees a piece."""

    speech: Mask
    quieted: str | None = None


class TurnHearing:
    """The model of a lane as its sessions use it, on the thread that owns it."""

    def __init__(
        self,
        model: Transcriber,
        judge: TranscriptJudge,
        audible_speech: AudibleSpeech,
        clear_cache: Callable[[], None],
    ) -> None:
        """`clear_cache` frees what MLX keeps for reuse."""
        self._model = model
        self._judge = judge
        self._audible_speech = audible_speech
        self._clear_cache = clear_cache
        self.sample_rate_hz = model.sample_rate_hz
        self.quarantines = judge.quarantines
        """Whether text that nobody spoke fails what it was written for."""

    def open_stream(self) -> TurnStream | None:
        """A turn that is heard as it is spoken; None: the model hears it again and again.

        Raises VoxFleetError and GpuFaultError.
        """
        if not isinstance(self._model, StreamingTranscriber):
            return None
        return self._run(self._model.open_stream)

    def step(self, stream: TurnStream) -> None:
        """Raises VoxFleetError and GpuFaultError."""
        self._run(stream.step)

    def final_of_stream(self, stream: TurnStream, samples: Samples, reached: Reached = _untold) -> Transcript:
        """The transcript of a turn that was heard to its end; heard once more as a whole when it is cut short.

        `samples`: (N,) float32, the turn. `reached`: is told of progress. Raises as `final` does.
        """
        transcript = Transcript(stream.text.strip())
        turn = _HeardTurn(self._audible_speech(samples, self.sample_rate_hz))
        judgement = self._judge.judge(transcript, turn, samples)
        if judgement.short is not None:
            return self.final(samples, reached)
        self._refuse(judgement, len(samples) * 1000 // self.sample_rate_hz)
        return transcript

    def partial(self, samples: Samples, reached: Reached = _untold) -> str:
        """The text of a turn so far, (N,) float32. Raises VoxFleetError and GpuFaultError."""
        text = self._transcribe(samples, reached, enlarged=False).text
        self._clear_cache()  # the next pass is over longer audio, and finds no use for buffers of this length
        return text

    def final(self, samples: Samples, reached: Reached = _untold) -> Transcript:
        """The transcript of a turn that has ended, (N,) float32.

        Raises VoxFleetError: TRUNCATED_OUTPUT for one that is cut short twice, UNSPOKEN_TEXT where the contract
        quarantines such clips, or what the model failed with; and GpuFaultError.
        """
        turn = _HeardTurn(self._audible_speech(samples, self.sample_rate_hz))
        transcript, judgement = self.judged(samples, turn, reached)
        self._refuse(judgement, len(samples) * 1000 // self.sample_rate_hz)
        return transcript

    def judged(self, samples: Samples, audio: JudgedAudio, reached: Reached = _untold) -> tuple[Transcript, Judgement]:
        """The transcript of audio, (N,) float32, and what of its text nobody spoke.

        Raises VoxFleetError: TRUNCATED_OUTPUT for one that is cut short twice, or what the model failed with; and
        GpuFaultError.
        """
        transcript = self._transcribe(samples, reached, enlarged=False)
        judgement = self._judge.judge(transcript, audio, samples)
        if judgement.short is not None:
            reached(0)
            transcript = self._transcribe(samples, reached, enlarged=True)
            judgement = self._judge.judge(transcript, audio, samples)
            if judgement.short is not None:
                raise VoxFleetError(FailureClass.TRUNCATED_OUTPUT, judgement.short)
        return transcript, judgement

    def _refuse(self, judgement: Judgement, audio_milliseconds: int) -> None:
        warnings = text_warnings(judgement.unspoken, judgement.repeated, audio_milliseconds)
        if warnings and self.quarantines:
            raise VoxFleetError(FailureClass.UNSPOKEN_TEXT, "; ".join(warning.message for warning in warnings))

    def _transcribe(self, samples: Samples, reached: Reached, *, enlarged: bool) -> Transcript:
        transcripts = self._run(lambda: self._model.transcribe([samples], enlarged=enlarged, heard=reached))
        if len(transcripts) != 1:
            reason = f"the model returned {len(transcripts)} transcripts for a turn"
            raise VoxFleetError(FailureClass.INFERENCE_ERROR, reason)
        return transcripts[0]

    def _run(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except Exception as error:  # a model's code raises what it likes; the session is told the type
            if gpu_abort(str(error)) is not None:
                raise GpuFaultError(str(error)) from error
            raise VoxFleetError(*inference_failure(error)) from error
