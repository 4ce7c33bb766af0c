"""The child's work on texts: an audio file and a verdict for each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from voxfleet_agent.lane_protocol.failure_marks import gpu_abort
from voxfleet_agent.lane_protocol.messages import (
    REASON_CHARACTERS,
    ClipMessage,
    HeardAudio,
    InferringClips,
    Message,
    SynthesizedFile,
    VerdictMessage,
)
from voxfleet_agent.worker.transcribe import GpuFaultError, inference_failure
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import AudioOutput
from voxfleet_api.kinds.job_task import Synthesis
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.quantities import duration_milliseconds

Samples = npt.NDArray[np.float32]
MILLISECONDS_PER_CHARACTER = 150
"""The pace of slow speech, from which the parent derives its timeout."""


class Synthesizer(Protocol):
    """The part of engine.synthesizer.MlxSynthesizer that is used here."""

    sample_rate_hz: int
    family: str
    parameters: int
    dtype: str
    interval_milliseconds: int

    def synthesize(
        self, text: str, *, enlarged: bool = False, synthesis: Synthesis | None = None
    ) -> Iterator[Samples]: ...

    def warm_up(self) -> None: ...


class WrittenAudio(Protocol):
    """audio.encode.WrittenAudio."""

    @property
    def size_bytes(self) -> int: ...

    @property
    def frames(self) -> int: ...


class WriteAudio(Protocol):
    """The type of audio.encode.write_audio."""

    def __call__(
        self,
        path: Path,
        chunks: Iterable[Samples],
        sample_rate_hz: int,
        output: AudioOutput,
        *,
        max_frames: int | None = None,
        max_bytes: int | None = None,
    ) -> WrittenAudio: ...


class TextSynthesis:
    """Synthesizes one text after the other, on the thread that owns the model."""

    def __init__(
        self,
        model: Synthesizer,
        contract: VoiceContractSpec,
        write_audio: WriteAudio,
        send: Callable[[Message], None],
        attend: Callable[[], int] = lambda: 0,
    ) -> None:
        """`attend` is called between two chunks of a text, and returns how many nanoseconds went to others."""
        self._model = model
        self._output = contract.output.audio
        self._max_frames = duration_milliseconds(contract.input.max_clip) * model.sample_rate_hz // 1000
        self._write_audio = write_audio
        self._send = send
        self._attend = attend
        self._away_ns = 0
        """How long others were attended to, since this text began."""

    def synthesize(self, clip: ClipMessage) -> None:
        """Writes the clip's audio and sends its verdict. Raises GpuFaultError, and OSError when the disk fails."""
        text = clip.text or ""
        self._send(InferringClips(indexes=(clip.index,), audio_milliseconds=len(text) * MILLISECONDS_PER_CHARACTER))
        started_ns, self._away_ns = time.monotonic_ns(), 0
        retried_for: tuple[FailureClass, ...] = ()
        outcome = self._write(clip, text, enlarged=False)
        if isinstance(outcome, VoxFleetError) and outcome.failure_class is FailureClass.TRUNCATED_OUTPUT:
            retried_for = (outcome.failure_class,)
            outcome = self._write(clip, text, enlarged=True)
        self._send_verdict(clip, outcome, retried_for, (time.monotonic_ns() - started_ns - self._away_ns) // 1_000_000)
        self._send(InferringClips())

    def _write(self, clip: ClipMessage, text: str, *, enlarged: bool) -> tuple[SynthesizedFile, int] | VoxFleetError:
        """Writes the audio file; returns it with its length in milliseconds, or why there is none."""
        clip.path.unlink(missing_ok=True)  # left by the first try
        chunks = _Chunks(partial(self._tell, clip))
        try:
            counted_chunks = chunks.counted(self._model.synthesize(text, enlarged=enlarged))
            written = self._write_audio(
                clip.path,
                counted_chunks,
                self._model.sample_rate_hz,
                self._output,
                max_frames=self._max_frames,
                max_bytes=clip.max_bytes,
            )
        except OSError:
            raise
        except Exception as error:  # a model's code raises what it likes; the verdict names the type
            if gpu_abort(str(error)) is not None:
                raise GpuFaultError(str(error)) from error
            return VoxFleetError(*inference_failure(error))
        synthesized = SynthesizedFile(
            size_bytes=written.size_bytes,
            sample_rate_hz=self._model.sample_rate_hz,
            chunks=chunks.count,
            interval_milliseconds=self._model.interval_milliseconds,
        )
        return synthesized, written.frames * 1000 // self._model.sample_rate_hz

    def _tell(self, clip: ClipMessage, frames: int) -> None:
        """Sends how much audio of a text is there."""
        milliseconds = frames * 1000 // self._model.sample_rate_hz
        self._send(HeardAudio(index=clip.index, audio_milliseconds=milliseconds))
        self._away_ns += self._attend()

    def _send_verdict(
        self,
        clip: ClipMessage,
        outcome: tuple[SynthesizedFile, int] | VoxFleetError,
        retried_for: tuple[FailureClass, ...],
        infer_milliseconds: int,
    ) -> None:
        if isinstance(outcome, VoxFleetError):
            verdict = VerdictMessage(
                index=clip.index,
                failure_class=outcome.failure_class,
                reason=outcome.message[:REASON_CHARACTERS],
                infer_milliseconds=infer_milliseconds,
                retried_for=retried_for,
            )
        else:
            synthesized, audio_milliseconds = outcome
            verdict = VerdictMessage(
                index=clip.index,
                synthesized=synthesized,
                audio_milliseconds=audio_milliseconds,
                infer_milliseconds=infer_milliseconds,
                retried_for=retried_for,
            )
        self._send(verdict)


class _Chunks:
    def __init__(self, tell: Callable[[int], None]) -> None:
        """`tell`: called with the frames so far, at each chunk."""
        self._tell = tell
        self._frames = 0
        self.count = 0

    def counted(self, chunks: Iterable[Samples]) -> Iterator[Samples]:
        """Counts the chunks, and leaves out the empty ones with which some models end their stream."""
        for chunk in chunks:
            if chunk.shape[0] > 0:
                self.count += 1
                self._frames += chunk.shape[0]
                self._tell(self._frames)
                yield chunk
