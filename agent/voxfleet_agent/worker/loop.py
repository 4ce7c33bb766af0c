"""The child's main loop: loads the requested model and works through batches with it."""

from __future__ import annotations

import gc
import os
import queue
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from voxfleet_agent import blas
from voxfleet_agent.audio.ring_buffer import RingBuffer, ring_frames
from voxfleet_agent.engine.mlx_limits import MlxLimits, mlx_limits
from voxfleet_agent.lane_protocol.channel import LaneRequest
from voxfleet_agent.lane_protocol.failure_marks import gpu_abort
from voxfleet_agent.lane_protocol.messages import (
    BatchDone,
    BatchMessage,
    Load,
    Loaded,
    Message,
    WorkerReadings,
    WorkerRefusal,
)
from voxfleet_agent.mlx_audio_names import SAMPLE_RATE
from voxfleet_agent.process_memory import peak_bytes, reset_peak
from voxfleet_agent.worker.decode_thread import (
    AudibleSpeech,
    ClipJob,
    Decoded,
    DecodeThread,
    DecodeThreadFailed,
    OpenClipDecoder,
    Piece,
)
from voxfleet_agent.worker.load_refusals import file_refusal, load_refusal
from voxfleet_agent.worker.memory_needs import MemoryNeeds
from voxfleet_agent.worker.mixdown_judge import MixdownJudge
from voxfleet_agent.worker.synthesize import Synthesizer, TextSynthesis, WriteAudio
from voxfleet_agent.worker.transcribe import ClipTranscription, GpuFaultError, Transcriber
from voxfleet_agent.worker.transcript_judge import Shortfall, TranscriptJudge
from voxfleet_agent.worker.underruns import Underruns
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

Item = LaneRequest | Piece | Decoded | DecodeThreadFailed


class MemoryControl(Protocol):
    """The part of engine.mlx_memory that is used here."""

    def set_limits(self, limits: MlxLimits) -> None: ...

    def cached_bytes(self) -> int: ...

    def clear_cache(self) -> None: ...

    def footprint_bytes(self) -> int: ...

    def work_bytes(self) -> int: ...

    def metal_peak_bytes(self) -> int | None: ...

    def reset_metal_peak(self) -> None: ...


@dataclass(frozen=True, slots=True)
class WorkerBackends:
    """The functions of audio and engine that the child works with, or a test's stand-ins."""

    open_decoder: OpenClipDecoder
    working_set_bytes: Callable[[VoiceContractSpec], int]
    write_audio: WriteAudio
    load_transcriber: Callable[[Path, Transcription, Timestamps], Transcriber]
    load_synthesizer: Callable[[Path, Synthesis, npt.NDArray[np.float32] | None, int], Synthesizer]
    audible_speech: AudibleSpeech
    load_second_opinion: Callable[[], AudibleSpeech]
    """Loads the costly detector of speech, which is asked where the first one contradicts a text."""
    shortfall: Shortfall
    seed: Callable[[Task], int]
    """The seed of a model's random choices."""
    memory: MemoryControl


@dataclass(slots=True)
class _OpenBatch:
    number: int
    undecoded: int
    """Clips that the decoding thread has not finished."""


class WorkerLoop:
    """Runs on the thread that owns MLX, as long as the process lives. Any thread may put items into its inbox."""

    def __init__(
        self,
        backends: WorkerBackends,
        inbox: queue.SimpleQueue[Item],
        send: Callable[[Message], None],
        flush: Callable[[], None],
    ) -> None:
        """`send` may buffer results until `flush`, because each write wakes the parent, at the lane's expense."""
        self._backends = backends
        self._inbox = inbox
        self._send = send
        self._flush = flush
        self._decode_thread = DecodeThread(backends.open_decoder, backends.audible_speech, send, self._inbox.put)
        self._loaded_key: tuple[object, ...] | None = None
        """Which model is in memory, and what it was loaded with."""
        self._transcriber: Transcriber | None = None
        self._second_opinion: AudibleSpeech | None = None
        """Loaded with the first model that transcribes, and kept: its memory counts as the model's."""
        self._synthesizer: Synthesizer | None = None
        self._contract: VoiceContractSpec | None = None
        self._ring: RingBuffer | None = None
        self._underruns = Underruns()
        """Of the ring."""
        self._transcription: ClipTranscription | None = None
        self._synthesis: TextSynthesis | None = None
        self._batches: deque[_OpenBatch] = deque()
        self._interpreter_bytes = backends.memory.footprint_bytes()
        """The footprint before any model."""
        self._work_bytes = 0
        """What the loaded model's first run took beyond its memory at rest."""
        self._warm_up_milliseconds = 0
        """How long the model in memory took for its first audio."""
        self._primed = False
        """Whether the model has worked since it last ran out of clips; if so, any wait is an underrun of the ring."""

    def serve(self) -> None:
        """Never returns. Raises GpuFaultError."""
        while True:
            item = self._next()
            try:
                self._handle(item)
            except OSError as error:
                self._send(file_refusal(error))
            finally:
                self._flush()

    def _next(self) -> Item:
        try:
            return self._inbox.get_nowait()
        except queue.Empty:
            if self._batches and self._primed and self._ring is not None:
                self._underruns.model_waits()
            self._primed = self._primed and bool(self._batches)
            return self._inbox.get()

    def _handle(self, item: Item) -> None:
        if isinstance(item, Piece | Decoded):
            self._underruns.audio_arrived(item.took)
        match item:
            case Load():
                self._send(self._load(item))
            case BatchMessage():
                self._start_batch(item)
            case Piece() if self._transcription is not None:
                if not self._transcription.has_room(item):
                    self._primed = self._transcription.infer(all_waiting=True) or self._primed
                self._transcription.add_piece(item)
                self._primed = self._transcription.infer(all_waiting=False) or self._primed
            case Decoded() if self._transcription is not None:
                self._transcription.add_end(item)
                self._batches[0].undecoded -= 1
                done = self._batches[0].undecoded == 0
                self._primed = self._transcription.infer(all_waiting=done) or self._primed
                if done:
                    self._finish_batch(self._batches.popleft())
            case DecodeThreadFailed():
                raise item.error

    def _start_batch(self, batch: BatchMessage) -> None:
        if self._synthesis is not None:
            for clip in batch.clips:
                self._synthesis.synthesize(clip)
            self._finish_batch(_OpenBatch(batch.number, 0))
        elif self._transcription is None or self._transcriber is None or self._ring is None or self._contract is None:
            self._send(WorkerRefusal(failure_class=FailureClass.MODEL_UNAVAILABLE, message="the lane holds no model"))
        else:
            jobs = [ClipJob(clip) for clip in batch.clips]
            self._transcription.add_batch(jobs, batch.batch_size)
            self._batches.append(_OpenBatch(batch.number, len(jobs)))
            self._decode_thread.put(self._contract, self._transcriber.sample_rate_hz, self._ring, jobs)

    def _finish_batch(self, batch: _OpenBatch) -> None:
        self._flush()  # so that no clip of this batch is blamed if what follows ends the process
        memory_short = self._transcription is not None and self._transcription.memory_short
        if self._transcription is not None:
            self._transcription.memory_short = False
        self._send(
            BatchDone(
                number=batch.number,
                footprint_bytes=self._resting_bytes(),
                memory_short=memory_short,
                readings=self._readings(),
            )
        )

    def _resting_bytes(self) -> int:
        """The footprint without what MLX keeps for reuse, which is counted on its own."""
        memory = self._backends.memory
        return max(0, memory.footprint_bytes() - memory.cached_bytes())

    def _readings(self) -> WorkerReadings:
        ring = self._ring
        return WorkerReadings(
            ring_high_water_bytes=0 if ring is None else ring.high_water_bytes,
            ring_underruns=self._underruns.total,
            ring_underruns_by_cause=dict(self._underruns.by_cause),
            ring_resets={} if ring is None else dict(ring.resets),
            peak_rss_bytes=peak_bytes(),
            metal_peak_bytes=self._backends.memory.metal_peak_bytes(),
        )

    def _load(self, request: Load) -> Loaded | WorkerRefusal:
        os.environ.update(request.environment)
        self._transcription, self._synthesis, self._ring, self._primed = None, None, None, False
        self._underruns = Underruns()
        self._contract = request.contract
        reset_peak()
        self._backends.memory.reset_metal_peak()
        self._backends.memory.set_limits(mlx_limits(request.memory_cap_bytes, self._interpreter_bytes))
        try:
            self._load_model(request)
            return self._prepare(request)
        except VoxFleetError as error:
            return WorkerRefusal(failure_class=error.failure_class, message=error.message)
        except Exception as error:  # a model's code may raise anything; the parent gets a refusal
            self._loaded_key, self._transcriber, self._synthesizer = None, None, None
            traceback.print_exc(file=sys.stderr)
            if gpu_abort(str(error)) is not None:
                raise GpuFaultError(str(error)) from error
            return load_refusal(error, request)

    def _load_model(self, request: Load) -> None:
        """Loads the requested model unless it is already in memory."""
        key = _key_of(request)
        if self._loaded_key == key:
            return
        # The memory of the old model must be free before the new one is read.
        self._loaded_key, self._transcriber, self._synthesizer = None, None, None
        gc.collect()
        self._backends.memory.clear_cache()
        if request.task is Task.TRANSCRIBE:
            self._transcriber = self._backends.load_transcriber(
                request.folder, request.transcription, request.contract.output.timestamps
            )
            self._warm_up(self._transcriber)
            self._second_opinion = self._second_opinion or self._backends.load_second_opinion()
        elif request.synthesis is not None:
            reference, rate_hz = self._read_reference(request)
            self._synthesizer = self._backends.load_synthesizer(request.folder, request.synthesis, reference, rate_hz)
            self._warm_up(self._synthesizer)
        else:
            raise VoxFleetError(FailureClass.INVALID_INPUT, "a job that speaks needs synthesis")
        self._backends.memory.clear_cache()
        self._loaded_key = key

    def _warm_up(self, model: Transcriber | Synthesizer) -> None:
        """Runs the model once and notes the time and the memory that this took: no clip takes less."""
        self._backends.memory.reset_metal_peak()
        self._warm_up_milliseconds = _timed(model.warm_up)
        self._work_bytes = self._backends.memory.work_bytes()

    def _prepare(self, request: Load) -> Loaded:
        """Prepares the ring, and transcription or synthesis with the loaded model.

        Raises VoxFleetError(CONTRACT_VIOLATION) when they do not fit the memory cap, or when the rate that the model
        synthesizes is not the declared one.
        """
        if self._synthesizer is not None:
            model: Synthesizer | Transcriber = self._synthesizer
            rate_hz, batches = model.sample_rate_hz, False
            declared_hz = request.contract.output.audio.sample_rate_hz
            if rate_hz != declared_hz:
                raise VoxFleetError(
                    FailureClass.CONTRACT_VIOLATION,
                    f"the model speaks at {rate_hz} Hz and output.audio.sampleRateHz is {declared_hz};"
                    f" write {rate_hz} there",
                )
            self._synthesis = TextSynthesis(self._synthesizer, request.contract, self._backends.write_audio, self._send)
        elif self._transcriber is not None and self._second_opinion is not None:
            model = self._transcriber
            rate_hz, batches = model.sample_rate_hz, self._transcriber.batches
            needs = MemoryNeeds(
                request.contract,
                rate_hz,
                decode_bytes=self._backends.working_set_bytes(request.contract),
                model_bytes=self._resting_bytes(),
                work_bytes=self._work_bytes,
            )
            refusal = needs.refusal(request.memory_cap_bytes)
            if refusal is not None:
                raise VoxFleetError(FailureClass.CONTRACT_VIOLATION, refusal)
            limits = needs.limits(request.memory_cap_bytes, self._interpreter_bytes)
            self._backends.memory.set_limits(limits)
            self._ring = RingBuffer(ring_frames(request.contract, rate_hz))
            self._transcription = ClipTranscription(
                self._transcriber,
                self._ring,
                TranscriptJudge(self._backends.shortfall, self._second_opinion, request.contract.completeness, rate_hz),
                needs.room_bytes(request.memory_cap_bytes, limits.cache_bytes),
                self._send,
            )
        else:
            raise RuntimeError("neither a model that hears nor one that speaks was loaded")
        os.environ[SAMPLE_RATE] = str(rate_hz)
        return Loaded(
            sample_rate_hz=rate_hz,
            family=model.family,
            batches=batches,
            parameters=model.parameters,
            dtype=model.dtype,
            ring_bytes=0 if self._ring is None else self._ring.size_bytes,
            seed=self._backends.seed(request.task),
            blas=blas.in_use(),
            warm_up_milliseconds=self._warm_up_milliseconds,
            environment={name: os.environ[name] for name in sorted({*request.environment, SAMPLE_RATE})},
        )

    def _read_reference(self, request: Load) -> tuple[npt.NDArray[np.float32] | None, int]:
        """The recorded voice: float32 samples (N,), mono, at the contract's output rate, and that rate in Hz."""
        rate_hz = request.contract.output.audio.sample_rate_hz
        if request.reference is None:
            return None, rate_hz
        try:
            decoder = self._backends.open_decoder(request.reference, request.contract, rate_hz)
            pieces = list(decoder.pieces(MixdownJudge().examine))
        except VoxFleetError as error:
            raise VoxFleetError(error.failure_class, f"synthesis.reference: {error.message}") from error
        return np.concatenate(pieces), rate_hz


def _timed(work: Callable[[], None]) -> int:
    """Returns how long the work took, in milliseconds."""
    started_ns = time.monotonic_ns()
    work()
    return (time.monotonic_ns() - started_ns) // 1_000_000


def _key_of(request: Load) -> tuple[object, ...]:
    """Everything that a loaded model depends on: requests with equal keys can share one."""
    common: Sequence[object] = (request.folder, request.digest, request.task)
    if request.task is Task.TRANSCRIBE:
        return (*common, request.transcription, request.contract.output.timestamps)
    return (*common, request.synthesis, request.reference, request.contract.output.audio.sample_rate_hz)
