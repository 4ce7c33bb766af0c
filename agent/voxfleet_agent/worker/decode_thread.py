"""The child's decoding thread: decodes clips from disk to pieces in the ring, in the order of the batches."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from voxfleet_agent.audio.levels import QuietedStretch
from voxfleet_agent.audio.ring_buffer import RingBuffer, RingSlot
from voxfleet_agent.lane_protocol.messages import ClipMessage, DecodingClip, Message
from voxfleet_agent.worker.mixdown_judge import MixdownJudge
from voxfleet_agent.worker.underruns import NO_TIME, DecodeMeter, DecodeTimes
from voxfleet_api.clip_warnings import RowWarning
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.rows import Attestation

Samples = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


class ClipDecoder(Protocol):
    """The part of the decoders from audio.decode.open_decoder that is used here."""

    @property
    def piece_starts_milliseconds(self) -> list[int]: ...

    @property
    def audio_milliseconds(self) -> int: ...

    @property
    def attestation(self) -> Attestation: ...

    @property
    def warnings(self) -> tuple[RowWarning, ...]: ...

    def pieces(self, examine: Callable[[QuietedStretch], None]) -> Iterator[Samples]: ...


OpenClipDecoder = Callable[[Path, VoiceContractSpec, int], ClipDecoder]
AudibleSpeech = Callable[[Samples, int], Mask]
"""The type of engine.speech_detection.audible_speech."""


@dataclass(slots=True, eq=False)
class ClipJob:
    """A clip on its way through the child. The decoding thread reads `abandoned` and never sets it."""

    clip: ClipMessage
    abandoned: bool = False
    """The clip has failed: the rest of it is decoded for its length and attestation alone, behind the batch's other
    clips."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a clip in the ring."""

    job: ClipJob
    number: int
    slot: RingSlot
    start_milliseconds: int
    speech: Mask
    """Where speech is audible in the piece, or was in its channels. The decoding thread detects it, so that the model
    need not wait for it."""
    written_ns: int
    quieted: str | None = None
    """What a conversion did to the level of the clip so far, when it is worth a warning."""
    took: DecodeTimes = NO_TIME


@dataclass(frozen=True, slots=True)
class Decoded:
    """The end of a clip: all of its pieces are in the ring, or decoding failed."""

    job: ClipJob
    pieces: int
    decode_milliseconds: int
    audio_milliseconds: int = 0
    attestation: Attestation | None = None
    warnings: tuple[RowWarning, ...] = ()
    failure: VoxFleetError | None = None
    took: DecodeTimes = NO_TIME


@dataclass(frozen=True, slots=True)
class DecodeThreadFailed:
    """The thread ended with an error that no clip explains."""

    error: BaseException


@dataclass(slots=True)
class _Batch:
    contract: VoiceContractSpec
    rate_hz: int
    ring: RingBuffer
    jobs: list[ClipJob] = field(default_factory=list)
    queued_ns: int = field(default_factory=time.monotonic_ns)


class DecodeThread:
    """One thread that lives as long as the process."""

    def __init__(
        self,
        open_decoder: OpenClipDecoder,
        audible_speech: AudibleSpeech,
        send: Callable[[Message], None],
        emit: Callable[[Piece | Decoded | DecodeThreadFailed], None],
    ) -> None:
        """`send` sends to the parent, `emit` to the inferring thread."""
        self._open_decoder = open_decoder
        self._audible_speech = audible_speech
        self._send = send
        self._emit = emit
        self._queue: queue.SimpleQueue[_Batch] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True, name="decoding").start()

    def put(self, contract: VoiceContractSpec, rate_hz: int, ring: RingBuffer, jobs: list[ClipJob]) -> None:
        """Queues the clips of a batch."""
        self._queue.put(_Batch(contract, rate_hz, ring, jobs))

    def _run(self) -> None:
        self._meter = DecodeMeter()  # made by the thread that it measures
        try:
            while True:
                self._decode_batch(self._queue.get())
                if self._queue.empty():
                    self._send(DecodingClip())
        # The inferring thread must learn of any error, or it would wait for ever.
        except BaseException as error:  # noqa: BLE001
            self._emit(DecodeThreadFailed(error))

    def _decode_batch(self, batch: _Batch) -> None:
        """In a frame of its own, so that a thread without work holds no ring.

        A clip that fails while it is decoded makes way for the batch's other clips. Then it is decoded once more from
        its start, because a decoder that waits would hold its memory.
        """
        failed: list[tuple[ClipJob, int]] = []
        self._meter.given_work(batch.queued_ns)
        for job in batch.jobs:
            self._send(DecodingClip(index=job.clip.index))
            spent_ns = self._decode(batch, job, makes_way=job is not batch.jobs[-1])
            if spent_ns is not None:
                failed.append((job, spent_ns))
        for job, spent_ns in failed:
            self._send(DecodingClip(index=job.clip.index))
            self._decode(batch, job, spent_ns=spent_ns)

    def _decode(self, batch: _Batch, job: ClipJob, *, spent_ns: int = 0, makes_way: bool = False) -> int | None:
        """Emits the clip's pieces and its end. `spent_ns`: how long it was decoded before.

        With `makes_way`, a clip that fails meanwhile has no end yet; returns how long it was decoded.
        """
        started_ns, waited_ns, number = time.monotonic_ns() - spent_ns, 0, 0
        failure: VoxFleetError | None = None
        decoder: ClipDecoder | None = None
        judge = MixdownJudge()
        try:
            self._meter.read_through(job.clip.path)
            decoder = self._open_decoder(job.clip.path, batch.contract, batch.rate_hz)
            pending: Samples | None = None
            # A piece is written when the next one comes, so the last one waits until the whole clip has been checked.
            for samples in decoder.pieces(judge.examine):
                if makes_way and job.abandoned:
                    return time.monotonic_ns() - started_ns - waited_ns
                if pending is not None and not job.abandoned:
                    waited_ns += self._write(batch, job, decoder, judge, number, pending)
                    number += 1
                pending = samples
            if pending is not None and not job.abandoned:
                waited_ns += self._write(batch, job, decoder, judge, number, pending)
                number += 1
            if number == 0 and not job.abandoned:
                failure = VoxFleetError(FailureClass.DECODE_ERROR, "decodes to no audio")
        except OSError:
            raise  # the disk is at fault, not the clip
        except Exception as error:  # noqa: BLE001 - strangers' bytes must not end the lane; the verdict names the type
            failure = decoding_failure(error)
        done = failure is None and decoder is not None
        self._emit(
            Decoded(
                job=job,
                pieces=number,
                decode_milliseconds=(time.monotonic_ns() - started_ns - waited_ns) // 1_000_000,
                audio_milliseconds=decoder.audio_milliseconds if done and decoder is not None else 0,
                attestation=decoder.attestation if done and decoder is not None else None,
                warnings=(*decoder.warnings, *judge.warnings) if decoder is not None else (),
                failure=failure,
                took=self._meter.piece_done(),
            )
        )
        return None

    def _write(
        self,
        batch: _Batch,
        job: ClipJob,
        decoder: ClipDecoder,
        judge: MixdownJudge,
        number: int,
        samples: Samples,
    ) -> int:
        """Returns how long it waited for room in the ring, in nanoseconds."""
        if samples.nbytes > batch.ring.size_bytes:
            raise VoxFleetError(
                FailureClass.CONTRACT_VIOLATION,
                f"a piece of {samples.nbytes} bytes is longer than the ring of {batch.ring.size_bytes} bytes",
            )
        start_milliseconds = decoder.piece_starts_milliseconds[number]
        speech = self._audible_speech(samples, batch.rate_hz)
        speech = speech | judge.speech(start_milliseconds, len(speech))
        took = self._meter.piece_done()
        started_ns = time.monotonic_ns()
        slot = batch.ring.write(samples)
        written_ns = time.monotonic_ns()
        self._meter.restart()
        self._emit(Piece(job, number, slot, start_milliseconds, speech, written_ns, judge.note, took))
        return written_ns - started_ns


def decoding_failure(error: Exception) -> VoxFleetError:
    """What a clip has failed with whose decoding raised `error`. Pure."""
    if isinstance(error, VoxFleetError):
        return error
    if isinstance(error, MemoryError):
        return VoxFleetError(FailureClass.MEMORY_EXCEEDED, "there was no memory to decode the clip")
    return VoxFleetError(FailureClass.DECODE_ERROR, f"the decoder raised {type(error).__name__}")
