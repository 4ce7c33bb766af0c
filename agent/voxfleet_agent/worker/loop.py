"""The child's main loop: loads the model that it is told to, and works through batches with it."""

from __future__ import annotations

import gc
import os
import queue
import sys
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from voxfleet_agent.audio.ring_buffer import RingBuffer, ring_frames
from voxfleet_agent.lane_protocol.failure_marks import gpu_abort
from voxfleet_agent.lane_protocol.messages import (
    BatchDone,
    BatchMessage,
    LaneRequest,
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
    Broken,
    ClipJob,
    Decoded,
    DecodeThread,
    OpenClipDecoder,
    Piece,
)
from voxfleet_agent.worker.memory_needs import MemoryNeeds
from voxfleet_agent.worker.synthesize import Synthesizer, TextSynthesis, WriteAudio
from voxfleet_agent.worker.transcribe import ClipTranscription, GpuFaultError, Shortfall, Transcriber
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

Item = LaneRequest | Piece | Decoded | Broken
_CACHE_PERCENT = 25
"""Of the memory cap: most that MLX may keep for reuse."""


class MemoryControl(Protocol):
    """engine.memory, as far as it is used here."""

    def set_cache_limit(self, limit_bytes: int) -> None: ...

    def clear_cache(self) -> None: ...

    def footprint_bytes(self) -> int: ...

    def metal_peak_bytes(self) -> int | None: ...

    def reset_metal_peak(self) -> None: ...


@dataclass(frozen=True, slots=True)
class WorkerBackends:
    """What the child works with: audio and engine, or a test's stand-ins."""

    open_decoding: OpenClipDecoder
    working_set_bytes: Callable[[VoiceContractSpec], int]
    write_audio: WriteAudio
    load_speech: Callable[[Path, Transcription, Timestamps], Transcriber]
    load_voice: Callable[[Path, Synthesis, npt.NDArray[np.float32] | None, int], Synthesizer]
    audible_speech: AudibleSpeech
    shortfall: Shortfall
    seed: Callable[[Task], int]
    """Of a loaded model's random choices."""
    memory: MemoryControl


@dataclass(slots=True)
class _OpenBatch:
    number: int
    undecoded: int


class WorkerLoop:
    """Lives as long as the process; runs on the thread that owns MLX. Any thread may put into its inbox."""

    def __init__(
        self,
        parts: WorkerBackends,
        inbox: queue.SimpleQueue[Item],
        tell: Callable[[Message], None],
        flush: Callable[[], None],
    ) -> None:
        """Results that were told may wait for `flush`: the parent wakes up for each write, at the lane's expense."""
        self._parts = parts
        self._inbox = inbox
        self._tell = tell
        self._flush = flush
        self._decoder = DecodeThread(parts.open_decoding, parts.audible_speech, tell, self._inbox.put)
        self._key: tuple[object, ...] | None = None
        """What the model in memory was made of."""
        self._model: Transcriber | None = None
        self._voice: Synthesizer | None = None
        self._contract: VoiceContractSpec | None = None
        self._ring: RingBuffer | None = None
        self._hearing: ClipTranscription | None = None
        self._speaking: TextSynthesis | None = None
        self._batches: deque[_OpenBatch] = deque()
        self._primed = False
        """The model has worked since it was last without clips: from then on it should not wait."""

    def serve(self) -> None:
        """Never returns. Raises GpuFaultError."""
        while True:
            item = self._next()
            try:
                self._handle(item)
            except OSError as error:
                self._tell(
                    WorkerRefusal(
                        failure_class=FailureClass.SCRATCH_EXHAUSTED,
                        message=f"the lane cannot use its scratch: {error.strerror}; check the disk and its free space",
                    )
                )
            finally:
                self._flush()

    def _next(self) -> Item:
        try:
            return self._inbox.get_nowait()
        except queue.Empty:
            if self._batches and self._primed and self._ring is not None:
                self._ring.underruns += 1
            self._primed = self._primed and bool(self._batches)
            return self._inbox.get()

    def _handle(self, item: Item) -> None:
        match item:
            case Load():
                self._tell(self._load(item))
            case BatchMessage():
                self._begin(item)
            case Piece() if self._hearing is not None:
                if not self._hearing.has_room(item):
                    self._primed = self._hearing.infer(all_that_waits=True) or self._primed
                self._hearing.piece(item)
                self._primed = self._hearing.infer(all_that_waits=False) or self._primed
            case Decoded() if self._hearing is not None:
                self._hearing.decoded(item)
                self._batches[0].undecoded -= 1
                done = self._batches[0].undecoded == 0
                self._primed = self._hearing.infer(all_that_waits=done) or self._primed
                if done:
                    self._done(self._batches.popleft())
            case Broken():
                raise item.error

    def _begin(self, batch: BatchMessage) -> None:
        if self._speaking is not None:
            for clip in batch.clips:
                self._speaking.speak(clip)
            self._done(_OpenBatch(batch.number, 0))
        elif self._hearing is None or self._model is None or self._ring is None or self._contract is None:
            self._tell(WorkerRefusal(failure_class=FailureClass.MODEL_UNAVAILABLE, message="the lane holds no model"))
        else:
            jobs = [ClipJob(clip) for clip in batch.clips]
            self._hearing.begin(jobs, batch.together)
            self._batches.append(_OpenBatch(batch.number, len(jobs)))
            self._decoder.put(self._contract, self._model.sample_rate_hz, self._ring, jobs)

    def _done(self, batch: _OpenBatch) -> None:
        self._flush()  # what follows may end the process, and no clip is at fault then
        memory = self._parts.memory
        memory.clear_cache()
        short = self._hearing is not None and self._hearing.memory_short
        if self._hearing is not None:
            self._hearing.memory_short = False
        self._tell(
            BatchDone(
                number=batch.number,
                footprint_bytes=memory.footprint_bytes(),
                memory_short=short,
                readings=self._readings(),
            )
        )

    def _readings(self) -> WorkerReadings:
        ring = self._ring
        return WorkerReadings(
            ring_high_water_bytes=0 if ring is None else ring.high_water_bytes,
            ring_underruns=0 if ring is None else ring.underruns,
            ring_resets={} if ring is None else dict(ring.resets),
            peak_rss_bytes=peak_bytes(),
            metal_peak_bytes=self._parts.memory.metal_peak_bytes(),
        )

    def _load(self, request: Load) -> Loaded | WorkerRefusal:
        os.environ.update(request.environment)
        self._hearing, self._speaking, self._ring, self._primed = None, None, None, False
        self._contract = request.contract
        reset_peak()
        self._parts.memory.reset_metal_peak()
        self._parts.memory.set_cache_limit(request.memory_cap_bytes * _CACHE_PERCENT // 100)
        try:
            self._load_model(request)
            return self._set_up(request)
        except VoxFleetError as error:
            return WorkerRefusal(failure_class=error.failure_class, message=error.message)
        except Exception as error:  # a model's code raises what it likes; the parent hears of it
            self._key, self._model, self._voice = None, None, None
            traceback.print_exc(file=sys.stderr)
            if gpu_abort(str(error)) is not None:
                raise GpuFaultError(str(error)) from error
            return WorkerRefusal(
                failure_class=FailureClass.MODEL_UNAVAILABLE,
                message=f"the model in {request.folder} cannot be loaded: {type(error).__name__}: {error}"[:1024],
            )

    def _load_model(self, request: Load) -> None:
        """Keeps the model in memory when it was made of the same."""
        key = _key(request)
        if self._key == key:
            return
        # The old model's memory is free before the new one is read.
        self._key, self._model, self._voice = None, None, None
        gc.collect()
        self._parts.memory.clear_cache()
        if request.task is Task.TRANSCRIBE:
            self._model = self._parts.load_speech(
                request.folder, request.transcription, request.contract.output.timestamps
            )
            self._model.warm_up()
        elif request.synthesis is not None:
            reference, rate_hz = self._reference(request)
            self._voice = self._parts.load_voice(request.folder, request.synthesis, reference, rate_hz)
            self._voice.warm_up()
        else:
            raise VoxFleetError(FailureClass.INVALID_INPUT, "a job that speaks needs synthesis")
        self._parts.memory.clear_cache()
        self._key = key

    def _set_up(self, request: Load) -> Loaded:
        """Everything but the model. Raises VoxFleetError(CONTRACT_VIOLATION) when it does not fit the memory cap."""
        if self._voice is not None:
            rate_hz, family, batches, parameters = (
                self._voice.sample_rate_hz, self._voice.family, False, self._voice.parameters
            )  # fmt: skip
            declared_hz = request.contract.output.audio.sample_rate_hz
            if rate_hz != declared_hz:
                raise VoxFleetError(
                    FailureClass.CONTRACT_VIOLATION,
                    f"the model speaks at {rate_hz} Hz and output.audio.sampleRateHz is {declared_hz};"
                    f" write {rate_hz} there",
                )
            self._speaking = TextSynthesis(self._voice, request.contract, self._parts.write_audio, self._tell)
        elif self._model is not None:
            model = self._model
            rate_hz, family, batches, parameters = model.sample_rate_hz, model.family, model.batches, model.parameters
            needs = MemoryNeeds(
                request.contract,
                rate_hz,
                decode_bytes=self._parts.working_set_bytes(request.contract),
                model_bytes=self._parts.memory.footprint_bytes(),
            )
            refusal = needs.refusal(request.memory_cap_bytes)
            if refusal is not None:
                raise VoxFleetError(FailureClass.CONTRACT_VIOLATION, refusal)
            self._ring = RingBuffer(ring_frames(request.contract, rate_hz))
            self._hearing = ClipTranscription(
                model,
                self._ring,
                self._parts.shortfall,
                request.contract.completeness.min_coverage_percent,
                needs.room_bytes(request.memory_cap_bytes),
                self._tell,
            )
        else:
            raise RuntimeError("neither a model that hears nor one that speaks was loaded")
        os.environ[SAMPLE_RATE] = str(rate_hz)
        return Loaded(
            sample_rate_hz=rate_hz,
            family=family,
            batches=batches,
            parameters=parameters,
            ring_bytes=0 if self._ring is None else self._ring.size_bytes,
            seed=self._parts.seed(request.task),
            environment={name: os.environ[name] for name in sorted({*request.environment, SAMPLE_RATE})},
        )

    def _reference(self, request: Load) -> tuple[npt.NDArray[np.float32] | None, int]:
        """The recorded voice, mono, at the contract's rate of what is spoken."""
        rate_hz = request.contract.output.audio.sample_rate_hz
        if request.reference is None:
            return None, rate_hz
        try:
            pieces = list(self._parts.open_decoding(request.reference, request.contract, rate_hz).pieces())
        except VoxFleetError as error:
            raise VoxFleetError(error.failure_class, f"synthesis.reference: {error.message}") from error
        return np.concatenate(pieces), rate_hz


def _key(request: Load) -> tuple[object, ...]:
    common: Sequence[object] = (request.folder, request.digest, request.task)
    if request.task is Task.TRANSCRIBE:
        return (*common, request.transcription, request.contract.output.timestamps)
    return (*common, request.synthesis, request.reference, request.contract.output.audio.sample_rate_hz)
