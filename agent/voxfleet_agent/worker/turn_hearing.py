"""Passes of the model over one turn of a session: quick ones while it is spoken, and the one that counts at its end.

The last pass goes by the rules of a batch's clip: the same completeness, the same second try with a larger token
budget. What it leaves out: warnings of text that nobody spoke, which a turn has no room for (a contract that
quarantines such a clip fails such a turn), and windows, because a turn is never longer than a piece.
"""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.lane_protocol.failure_marks import gpu_abort
from voxfleet_agent.worker.decode_thread import AudibleSpeech, Mask, Samples
from voxfleet_agent.worker.transcribe import GpuFaultError, Transcriber, inference_failure
from voxfleet_agent.worker.transcript_judge import Judgement, TranscriptJudge, text_warnings
from voxfleet_api.failures import FailureClass, VoxFleetError


@dataclass(frozen=True, slots=True)
class _HeardTurn:
    """A turn as the judge sees a piece."""

    speech: Mask
    quieted: str | None = None


class TurnHearing:
    """The model of a lane as its sessions use it, on the thread that owns it."""

    def __init__(self, model: Transcriber, judge: TranscriptJudge, audible_speech: AudibleSpeech) -> None:
        self._model = model
        self._judge = judge
        self._audible_speech = audible_speech
        self.sample_rate_hz = model.sample_rate_hz

    def partial(self, samples: Samples) -> str:
        """The text of a turn so far, (N,) float32. Raises VoxFleetError and GpuFaultError."""
        return self._transcribe(samples, enlarged=False).text

    def final(self, samples: Samples) -> Transcript:
        """The transcript of a turn that has ended, (N,) float32.

        Raises VoxFleetError: TRUNCATED_OUTPUT for one that is cut short twice, UNSPOKEN_TEXT where the contract
        quarantines such clips, or what the model failed with; and GpuFaultError.
        """
        turn = _HeardTurn(self._audible_speech(samples, self.sample_rate_hz))
        transcript = self._transcribe(samples, enlarged=False)
        judgement = self._judge.judge(transcript, turn, samples)
        if judgement.short is not None:
            transcript = self._transcribe(samples, enlarged=True)
            judgement = self._judge.judge(transcript, turn, samples)
        self._refuse(judgement, len(samples) * 1000 // self.sample_rate_hz)
        return transcript

    def _refuse(self, judgement: Judgement, audio_milliseconds: int) -> None:
        if judgement.short is not None:
            raise VoxFleetError(FailureClass.TRUNCATED_OUTPUT, judgement.short)
        warnings = text_warnings(judgement.unspoken, judgement.repeated, audio_milliseconds)
        if warnings and self._judge.quarantines:
            raise VoxFleetError(FailureClass.UNSPOKEN_TEXT, "; ".join(warning.message for warning in warnings))

    def _transcribe(self, samples: Samples, *, enlarged: bool) -> Transcript:
        try:
            transcripts = self._model.transcribe([samples], enlarged=enlarged)
            if len(transcripts) != 1:
                raise TypeError(f"the model returned {len(transcripts)} transcripts for a turn")
        except Exception as error:  # a model's code raises what it likes; the session is told the type
            if gpu_abort(str(error)) is not None:
                raise GpuFaultError(str(error)) from error
            raise VoxFleetError(*inference_failure(error)) from error
        return transcripts[0]
