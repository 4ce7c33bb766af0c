"""The child's decoding thread: from clips on disk to pieces in the ring, in the order of the batches."""

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

from voxfleet_agent.audio.ring_buffer import RingBuffer, RingSlot
from voxfleet_agent.lane_protocol.messages import ClipMessage, DecodingClip, Message
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.results import Attestation

Samples = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


class ClipDecoder(Protocol):
    """audio.decode.Decoding, as far as it is used here."""

    @property
    def piece_starts_milliseconds(self) -> list[int]: ...

    @property
    def audio_milliseconds(self) -> int: ...

    @property
    def attestation(self) -> Attestation: ...

    def pieces(self) -> Iterator[Samples]: ...


OpenClipDecoder = Callable[[Path, VoiceContractSpec, int], ClipDecoder]
AudibleSpeech = Callable[[Samples, int], Mask]
"""engine.speech.audible_speech."""


@dataclass(slots=True, eq=False)
class ClipJob:
    """A clip on its way through the child. The decoding thread reads `abandoned` and writes nothing."""

    clip: ClipMessage
    abandoned: bool = False
    """Its verdict is known: the rest of it is not worth decoding."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece lies in the ring."""

    job: ClipJob
    number: int
    slot: RingSlot
    start_milliseconds: int
    speech: Mask
    """Where speech is audible in it; told here, so that the model need not wait for it."""
    written_ns: int


@dataclass(frozen=True, slots=True)
class Decoded:
    """All pieces of a clip are in the ring, or it failed."""

    job: ClipJob
    pieces: int
    decode_milliseconds: int
    audio_milliseconds: int = 0
    attestation: Attestation | None = None
    failure: VoxFleetError | None = None


@dataclass(frozen=True, slots=True)
class Broken:
    """The thread met what no clip explains."""

    error: BaseException


@dataclass(slots=True)
class _Work:
    contract: VoiceContractSpec
    rate_hz: int
    ring: RingBuffer
    jobs: list[ClipJob] = field(default_factory=list)


class DecodeThread:
    """One thread for the life of the process."""

    def __init__(
        self,
        open_decoding: OpenClipDecoder,
        audible_speech: AudibleSpeech,
        tell: Callable[[Message], None],
        emit: Callable[[Piece | Decoded | Broken], None],
    ) -> None:
        """`tell` speaks to the parent, `emit` to the thread that infers."""
        self._open = open_decoding
        self._audible_speech = audible_speech
        self._tell = tell
        self._emit = emit
        self._queue: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True, name="decoding").start()

    def put(self, contract: VoiceContractSpec, rate_hz: int, ring: RingBuffer, jobs: list[ClipJob]) -> None:
        """Queues the clips of a batch."""
        self._queue.put(_Work(contract, rate_hz, ring, jobs))

    def _run(self) -> None:
        try:
            while True:
                work = self._queue.get()
                for job in work.jobs:
                    self._tell(DecodingClip(index=job.clip.index))
                    self._decode(work, job)
                if self._queue.empty():
                    self._tell(DecodingClip())
        # Whatever it is, the thread that infers must hear of it: it would wait for ever.
        except BaseException as error:  # noqa: BLE001
            self._emit(Broken(error))

    def _decode(self, work: _Work, job: ClipJob) -> None:
        started_ns, waited_ns, number = time.monotonic_ns(), 0, 0
        failure: VoxFleetError | None = None
        opened: ClipDecoder | None = None
        try:
            opened = self._open(job.clip.path, work.contract, work.rate_hz)
            held: Samples | None = None
            # The last piece is held back until the decoder is content with the whole clip.
            for samples in opened.pieces():
                if held is not None:
                    waited_ns += self._write(work, job, opened, number, held)
                    number += 1
                held = samples
                if job.abandoned:
                    break
            if held is not None and not job.abandoned:
                waited_ns += self._write(work, job, opened, number, held)
                number += 1
            if number == 0 and not job.abandoned:
                failure = VoxFleetError(FailureClass.DECODE_ERROR, "holds no audio")
        except VoxFleetError as error:
            failure = error
        except OSError:
            raise  # the disk's fault
        except MemoryError:
            failure = VoxFleetError(FailureClass.MEMORY_EXCEEDED, "there was no memory to decode the clip")
        except Exception as error:  # noqa: BLE001 - strangers' bytes must not end the lane; the verdict names the type
            failure = VoxFleetError(FailureClass.DECODE_ERROR, f"the decoder raised {type(error).__name__}")
        done = failure is None and opened is not None
        self._emit(
            Decoded(
                job=job,
                pieces=number,
                decode_milliseconds=(time.monotonic_ns() - started_ns - waited_ns) // 1_000_000,
                audio_milliseconds=opened.audio_milliseconds if done and opened is not None else 0,
                attestation=opened.attestation if done and opened is not None else None,
                failure=failure,
            )
        )

    def _write(self, work: _Work, job: ClipJob, opened: ClipDecoder, number: int, samples: Samples) -> int:
        """Returns how long it waited for room, in nanoseconds."""
        if samples.nbytes > work.ring.size_bytes:
            raise VoxFleetError(
                FailureClass.CONTRACT_VIOLATION,
                f"a piece of {samples.nbytes} bytes is longer than the ring of {work.ring.size_bytes} bytes",
            )
        speech = self._audible_speech(samples, work.rate_hz)
        started_ns = time.monotonic_ns()
        slot = work.ring.write(samples)
        written_ns = time.monotonic_ns()
        self._emit(Piece(job, number, slot, opened.piece_starts_milliseconds[number], speech, written_ns))
        return written_ns - started_ns
