"""The child's work on batches, in steps: a group of pieces, or a clip to speak.

What concerns batches is worked off in the order in which it came, so that sessions between two steps change nothing of
what is answered, nor of its order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from voxfleet_agent.lane_protocol.messages import (
    BatchDone,
    BatchMessage,
    InferringClips,
    Load,
    Loaded,
    Message,
    WorkerReadings,
    WorkerRefusal,
)
from voxfleet_agent.process_memory import peak_bytes
from voxfleet_agent.worker.backends import WorkerBackends
from voxfleet_agent.worker.decode_thread import ClipJob, Decoded, DecodeThread, DecodeThreadFailed, Piece
from voxfleet_agent.worker.load_refusals import file_refusal
from voxfleet_agent.worker.model_in_memory import ModelInMemory
from voxfleet_agent.worker.synthesize import TextSynthesis
from voxfleet_agent.worker.transcribe import ClipTranscription
from voxfleet_agent.worker.underruns import Underruns
from voxfleet_api.failures import FailureClass

BatchItem = Load | BatchMessage | Piece | Decoded | DecodeThreadFailed


@dataclass(slots=True)
class _OpenBatch:
    number: int
    undecoded: int
    """Clips that the decoding thread has not finished."""


class BatchWork:
    """On the thread that owns MLX."""

    def __init__(
        self,
        backends: WorkerBackends,
        model: ModelInMemory,
        send: Callable[[Message], None],
        flush: Callable[[], None],
        emit: Callable[[Piece | Decoded | DecodeThreadFailed], None],
        loaded: Callable[[Loaded | WorkerRefusal], None],
        attend: Callable[[], int],
    ) -> None:
        """`emit`: where the decoding thread's results go; they come back by `put`. `loaded` is told of every load.

        `attend` is called where a model can be left alone in the middle of a clip, and returns how many nanoseconds
        went to others.
        """
        self._backends = backends
        self._model = model
        self._send = send
        self._flush = flush
        self._loaded = loaded
        self._attend = attend
        self._decode_thread = DecodeThread(backends.open_decoder, backends.audible_speech, self._tell, emit)
        self._items: deque[BatchItem] = deque()
        self._step: Iterator[None] | None = None
        """The item that is worked off."""
        self._transcription: ClipTranscription | None = None
        self._synthesis: TextSynthesis | None = None
        self._batches: deque[_OpenBatch] = deque()
        self._underruns = Underruns()
        """Of the ring."""
        self._primed = False
        """Whether the model has worked since it last ran out of clips; if so, any wait is an underrun of the ring."""
        self._announced = InferringClips()
        """What the parent was last told that the model works on."""

    def put(self, item: BatchItem) -> None:
        if isinstance(item, Piece | Decoded):
            self._underruns.audio_arrived(item.took)
        self._items.append(item)

    @property
    def waits(self) -> bool:
        """Whether there is a step to run."""
        return self._step is not None or bool(self._items)

    @property
    def waits_to_load(self) -> bool:
        """Whether that step loads a model, for which nothing stands still."""
        return self._step is None and bool(self._items) and isinstance(self._items[0], Load)

    @property
    def open(self) -> bool:
        """Whether the parent waits for a batch to end."""
        return bool(self._batches) or self.waits

    def run_step(self) -> None:
        """Raises GpuFaultError, and what the decoding thread ended with."""
        if self._step is None:
            self._step = self._worked_off(self._items.popleft())
        try:
            next(self._step)
        except StopIteration:
            self._step = None
        except OSError as error:
            self._step = None
            self._send(file_refusal(error))
        if self._step is None:
            self._flush()

    def starves(self) -> None:
        """The child waits, though nobody holds batches up."""
        if self._batches and self._primed and self._model.ring is not None:
            self._underruns.model_waits()
        self._primed = self._primed and bool(self._batches)

    def show_life(self) -> None:
        """Tells the parent again what it knows, so that a batch that was paused does not count as hung."""
        self._send(self._announced)
        self._flush()

    def _worked_off(self, item: BatchItem) -> Iterator[None]:
        transcription = self._transcription
        match item:
            case Load():
                self._load(item)
            case BatchMessage():
                yield from self._begin(item)
            case Piece() if transcription is not None:
                if not transcription.has_room(item):
                    self._primed = (yield from transcription.infer_in_steps(all_waiting=True)) or self._primed
                transcription.add_piece(item)
                self._primed = (yield from transcription.infer_in_steps(all_waiting=False)) or self._primed
            case Decoded() if transcription is not None:
                transcription.add_end(item)
                self._batches[0].undecoded -= 1
                done = self._batches[0].undecoded == 0
                self._primed = (yield from transcription.infer_in_steps(all_waiting=done)) or self._primed
                if done:
                    self._end(self._batches.popleft())
            case DecodeThreadFailed():
                raise item.error

    def _load(self, request: Load) -> None:
        self._transcription, self._synthesis, self._primed = None, None, False
        self._underruns = Underruns()
        answer = self._model.load(request)
        model, contract = self._model, request.contract
        if isinstance(answer, WorkerRefusal):
            pass
        elif model.synthesizer is not None:
            write_audio = self._backends.write_audio
            self._synthesis = TextSynthesis(model.synthesizer, contract, write_audio, self._tell, self._attend)
        elif model.transcriber is not None and model.ring is not None and model.judge is not None:
            self._transcription = ClipTranscription(
                model.transcriber, model.ring, model.judge, model.room_bytes, self._tell, self._attend
            )
        self._loaded(answer)
        self._send(answer)

    def _begin(self, batch: BatchMessage) -> Iterator[None]:
        transcriber, ring, contract = self._model.transcriber, self._model.ring, self._model.contract
        if self._synthesis is not None:
            for clip in batch.clips:
                self._synthesis.synthesize(clip)
                yield
            self._end(_OpenBatch(batch.number, 0))
        elif self._transcription is None or transcriber is None or ring is None or contract is None:
            self._send(WorkerRefusal(failure_class=FailureClass.MODEL_UNAVAILABLE, message="the lane holds no model"))
        else:
            jobs = [ClipJob(clip) for clip in batch.clips]
            self._transcription.add_batch(jobs, batch.batch_size)
            self._batches.append(_OpenBatch(batch.number, len(jobs)))
            self._decode_thread.put(contract, transcriber.sample_rate_hz, ring, jobs)

    def _end(self, batch: _OpenBatch) -> None:
        self._flush()  # so that no clip of this batch is blamed if what follows ends the process
        memory_short = self._transcription is not None and self._transcription.memory_short
        if self._transcription is not None:
            self._transcription.memory_short = False
        self._send(
            BatchDone(
                number=batch.number,
                footprint_bytes=self._model.resting_bytes(),
                memory_short=memory_short,
                readings=self._readings(),
            )
        )

    def _readings(self) -> WorkerReadings:
        ring = self._model.ring
        return WorkerReadings(
            ring_high_water_bytes=0 if ring is None else ring.high_water_bytes,
            ring_underruns=self._underruns.total,
            ring_underruns_by_cause=dict(self._underruns.by_cause),
            ring_resets={} if ring is None else dict(ring.resets),
            peak_rss_bytes=peak_bytes(),
            metal_peak_bytes=self._backends.memory.metal_peak_bytes(),
        )

    def _tell(self, message: Message) -> None:
        if isinstance(message, InferringClips):
            self._announced = message
        self._send(message)
