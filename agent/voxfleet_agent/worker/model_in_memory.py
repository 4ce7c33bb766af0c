"""The model that a child holds: loads it, keeps what batches and sessions need of it, and opens sessions."""

from __future__ import annotations

import gc
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from voxfleet_agent import blas
from voxfleet_agent.audio.ring_buffer import RingBuffer, ring_frames
from voxfleet_agent.engine.mlx_limits import mlx_limits
from voxfleet_agent.lane_protocol.failure_marks import gpu_abort
from voxfleet_agent.lane_protocol.messages import Load, Loaded, SessionLimits, WorkerRefusal
from voxfleet_agent.mlx_audio_names import SAMPLE_RATE
from voxfleet_agent.process_memory import reset_peak
from voxfleet_agent.worker.backends import WorkerBackends
from voxfleet_agent.worker.decode_thread import AudibleSpeech
from voxfleet_agent.worker.load_refusals import load_refusal
from voxfleet_agent.worker.memory_needs import MemoryNeeds, SessionNeeds, hearing_needs
from voxfleet_agent.worker.mixdown_judge import MixdownJudge
from voxfleet_agent.worker.synthesize import Synthesizer
from voxfleet_agent.worker.transcribe import GpuFaultError, Transcriber
from voxfleet_agent.worker.transcript_judge import TranscriptJudge
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

_STREAM_TEXT = "one two three"
"""Short, and long enough not to be over with the first chunk."""


class ModelInMemory:
    """On the thread that owns MLX. What it keeps belongs to the last request to load that was not refused."""

    def __init__(self, backends: WorkerBackends) -> None:
        self._backends = backends
        self._loaded_key: tuple[object, ...] | None = None
        """Which model is in memory, and what it was loaded with."""
        self.transcriber: Transcriber | None = None
        self.synthesizer: Synthesizer | None = None
        self.contract: VoiceContractSpec | None = None
        self.ring: RingBuffer | None = None
        self.judge: TranscriptJudge | None = None
        self.room_bytes = 0
        """The most audio of batches that waits outside of the ring."""
        self.session_limits: SessionLimits | None = None
        self.uploads_bytes: int | None = None
        """What uploads may take together; None: nobody has counted it."""
        self._second_opinion: AudibleSpeech | None = None
        """Loaded with the first model that transcribes, and kept: its memory counts as the model's."""
        self._interpreter_bytes = backends.memory.footprint_bytes()
        """The footprint before any model."""
        self._work_bytes = 0
        """What the loaded model's first run took beyond its memory at rest."""
        self._warm_up_milliseconds = 0
        """How long the model in memory took for its first audio."""

    def load(self, request: Load) -> Loaded | WorkerRefusal:
        """Raises GpuFaultError."""
        os.environ.update(request.environment)
        self.ring, self.judge = None, None
        self.contract, self.session_limits, self.uploads_bytes = request.contract, request.sessions, None
        reset_peak()
        self._backends.memory.reset_metal_peak()
        self._backends.memory.set_limits(mlx_limits(request.memory_cap_bytes, self._interpreter_bytes))
        try:
            self._load_model(request)
            return self._prepare(request)
        except VoxFleetError as error:
            return WorkerRefusal(failure_class=error.failure_class, message=error.message)
        except Exception as error:  # a model's code may raise anything; the parent gets a refusal
            self._loaded_key, self.transcriber, self.synthesizer = None, None, None
            traceback.print_exc(file=sys.stderr)
            if gpu_abort(str(error)) is not None:
                raise GpuFaultError(str(error)) from error
            return load_refusal(error, request)

    def resting_bytes(self) -> int:
        """The footprint without what MLX keeps for reuse, which is counted on its own."""
        memory = self._backends.memory
        return max(0, memory.footprint_bytes() - memory.cached_bytes())

    def _load_model(self, request: Load) -> None:
        """Loads the requested model unless it is already in memory."""
        key = _key_of(request)
        if self._loaded_key == key:
            return
        # The memory of the old model must be free before the new one is read.
        self._loaded_key, self.transcriber, self.synthesizer = None, None, None
        gc.collect()
        self._backends.memory.clear_cache()
        if request.task is Task.TRANSCRIBE:
            self.transcriber = self._backends.load_transcriber(
                request.folder, request.transcription, request.contract.output.timestamps
            )
            self._warm_up(self.transcriber)
            self._second_opinion = self._second_opinion or self._backends.load_second_opinion()
        elif request.synthesis is not None:
            reference, rate_hz = self._read_reference(request)
            self.synthesizer = self._backends.load_synthesizer(request.folder, request.synthesis, reference, rate_hz)
            self._warm_up(self.synthesizer)
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
        """Prepares what batches need of the loaded model, or sessions: with Load.sessions there is no ring for batches.

        Raises VoxFleetError(CONTRACT_VIOLATION) when that does not fit the memory cap, or when the rate that the model
        synthesizes is not the declared one.
        """
        if self.synthesizer is not None:
            model: Synthesizer | Transcriber = self.synthesizer
            rate_hz, batches = model.sample_rate_hz, False
            declared_hz = request.contract.output.audio.sample_rate_hz
            if rate_hz != declared_hz:
                raise VoxFleetError(
                    FailureClass.CONTRACT_VIOLATION,
                    f"the model speaks at {rate_hz} Hz and output.audio.sampleRateHz is {declared_hz};"
                    f" write {rate_hz} there",
                )
            if request.sessions is not None:
                self._prepare_to_speak(self.synthesizer, request, request.sessions)
        elif self.transcriber is not None and self._second_opinion is not None:
            model = self.transcriber
            rate_hz, batches = model.sample_rate_hz, self.transcriber.batches
            if request.sessions is None:
                self._prepare_batches(request, rate_hz)
            else:
                self._prepare_to_hear(request, request.sessions, rate_hz)
            self.judge = TranscriptJudge(
                self._backends.shortfall, self._second_opinion, request.contract.completeness, rate_hz
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
            ring_bytes=0 if self.ring is None else self.ring.size_bytes,
            seed=self._backends.seed(request.task),
            blas=blas.in_use(),
            warm_up_milliseconds=self._warm_up_milliseconds,
            environment={name: os.environ[name] for name in sorted({*request.environment, SAMPLE_RATE})},
        )

    def _prepare_batches(self, request: Load, rate_hz: int) -> None:
        needs = MemoryNeeds(
            request.contract,
            rate_hz,
            decode_bytes=self._backends.working_set_bytes(request.contract),
            model_bytes=self.resting_bytes(),
            work_bytes=self._work_bytes,
        )
        _refuse(needs.refusal(request.memory_cap_bytes))
        limits = needs.limits(request.memory_cap_bytes, self._interpreter_bytes)
        self._backends.memory.set_limits(limits)
        self.ring = RingBuffer(ring_frames(request.contract, rate_hz))
        self.room_bytes = needs.room_bytes(request.memory_cap_bytes, limits.cache_bytes)

    def _prepare_to_hear(self, request: Load, limits: SessionLimits, rate_hz: int) -> None:
        model_bytes, cap_bytes = self.resting_bytes(), request.memory_cap_bytes
        needs = hearing_needs(limits, request.contract, rate_hz, model_bytes=model_bytes, work_bytes=self._work_bytes)
        _refuse(needs.refusal(cap_bytes))
        self._backends.memory.set_limits(needs.mlx_limits(cap_bytes, self._interpreter_bytes, in_mlx=False))
        self.uploads_bytes = needs.uploads_bytes(cap_bytes)

    def _prepare_to_speak(self, model: Synthesizer, request: Load, limits: SessionLimits) -> None:
        model_bytes, cap_bytes = self.resting_bytes(), request.memory_cap_bytes
        stream_bytes = self._stream_bytes(model)
        needs = SessionNeeds(limits, model_bytes, self._work_bytes, stream_bytes)
        _refuse(needs.refusal(cap_bytes))
        self._backends.memory.set_limits(needs.mlx_limits(cap_bytes, self._interpreter_bytes, in_mlx=True))

    def _stream_bytes(self, model: Synthesizer) -> int:
        """What a stream that has begun keeps until its next chunk."""
        before_bytes, stream = self.resting_bytes(), model.synthesize(_STREAM_TEXT)
        chunk = next(stream, None)
        held_bytes = self.resting_bytes() - before_bytes
        del stream, chunk
        gc.collect()
        self._backends.memory.clear_cache()
        return max(0, held_bytes)

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


def _refuse(reason: str | None) -> None:
    if reason is not None:
        raise VoxFleetError(FailureClass.CONTRACT_VIOLATION, reason)


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
