"""One session that speaks: a text came in, chunks of its audio go out, as far as its listener has room.

The model generates a chunk only when all of the last one was sent, so that a listener that stops reading costs the
memory of one chunk and no computation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from voxfleet_agent.audio.pcm import pcm16, within_full_scale
from voxfleet_agent.lane_protocol.failure_marks import gpu_abort
from voxfleet_agent.lane_protocol.messages import Message
from voxfleet_agent.lane_protocol.session_messages import EndSession, GrantRoom, SessionMessage, SpokenAudio
from voxfleet_agent.worker.decode_thread import Samples
from voxfleet_agent.worker.long_step import long_step
from voxfleet_agent.worker.session_summary import SessionSummary
from voxfleet_agent.worker.step_order import StepKind, WaitingStep
from voxfleet_agent.worker.transcribe import GpuFaultError, inference_failure
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import Clipping

_EMPTY = np.zeros(0, np.float32)


class SpeakingSession:
    """On the thread that owns the model. Its methods raise VoxFleetError, with which the session ends."""

    window_bytes = 0
    """It takes no audio."""

    def __init__(
        self,
        number: int,
        chunks: Iterator[Samples],
        *,
        room_samples: int,
        most_samples: int,
        first_chunk_milliseconds: int,
        sample_rate_hz: int,
        clipping: Clipping,
        opened_ns: int,
        send: Callable[[Message], None],
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`chunks`: (N,) float32 each, made as they are taken. `most_samples`: the longest audio that is allowed.
        `first_chunk_milliseconds`: how long the first chunk is, about; it may be the whole text.
        """
        self._number = number
        self._chunks = chunks
        self._room_samples = room_samples
        self._most_samples = most_samples
        self._longest_chunk_milliseconds = first_chunk_milliseconds
        """Of those that were made, or that may be."""
        self._rate_hz = sample_rate_hz
        self._clipping = clipping
        self._opened_ns = opened_ns
        self._taken_up_ns: int | None = None
        """When the model began with the first chunk."""
        self._first_audio_ns: int | None = None
        self._send = send
        self._now_ns = now_ns
        self._unsent = _EMPTY
        self._made_samples = 0
        self._sent_samples = 0
        self._taken_samples = 0
        """What the listener has granted anew, which is what it took."""
        self.ended = False
        """All audio was sent."""

    def request(self, request: SessionMessage) -> None:
        match request:
            case GrantRoom(samples=samples) if samples > 0:
                self._room_samples += samples
                self._taken_samples += samples
            case GrantRoom():
                raise VoxFleetError(FailureClass.INVALID_INPUT, "GrantRoom.samples: must be above 0")
            case EndSession():
                pass  # its text is complete as it is opened
            case _:
                raise VoxFleetError(
                    FailureClass.INVALID_INPUT, f"a session that speaks takes no {type(request).__name__}"
                )

    def waiting_step(self) -> WaitingStep | None:
        if self._room_samples <= 0:
            return None
        if self._sent_samples == 0:
            return WaitingStep(StepKind.FIRST_AUDIO, self._opened_ns, self._number)
        return WaitingStep(StepKind.NEXT_AUDIO, self._sent_samples - self._taken_samples, self._number)

    def run_step(self) -> None:
        """Makes a chunk, unless one is left, and sends as much of it as there is room. Raises GpuFaultError."""
        self._taken_up_ns = self._taken_up_ns or self._now_ns()
        if not len(self._unsent):
            chunk = self._next_chunk()
            if chunk is None:
                self.ended = True
                return
            self._unsent = chunk
        sent, self._unsent = self._unsent[: self._room_samples], self._unsent[self._room_samples :]
        self._room_samples -= len(sent)
        self._sent_samples += len(sent)
        self._send(SpokenAudio(session=self._number, pcm=pcm16(sent)))
        self._first_audio_ns = self._first_audio_ns or self._now_ns()

    def close(self) -> None:
        """Ends generation, wherever it stands."""
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()

    def summary(self) -> SessionSummary:
        wait_ns = infer_ns = 0
        if self._taken_up_ns is not None:
            wait_ns = self._taken_up_ns - self._opened_ns
            infer_ns = (self._first_audio_ns or self._taken_up_ns) - self._taken_up_ns
        return SessionSummary(
            audio_milliseconds=self._sent_samples * 1000 // self._rate_hz,
            wait_milliseconds=wait_ns // 1_000_000,
            infer_milliseconds=infer_ns // 1_000_000,
        )

    def due_ns(self) -> int | None:
        """Nothing of it depends on the clock."""
        return None

    def end_overdue_turn(self, now_ns: int) -> None: ...

    def _next_chunk(self) -> Samples | None:
        try:
            with long_step(self._send, self._longest_chunk_milliseconds):
                chunk = next((chunk for chunk in self._chunks if len(chunk)), None)
        except Exception as error:  # a model's code raises what it likes; the session is told the type
            if gpu_abort(str(error)) is not None:
                raise GpuFaultError(str(error)) from error
            raise VoxFleetError(*inference_failure(error)) from error
        if chunk is None:
            return None
        chunk_milliseconds = len(chunk) * 1000 // self._rate_hz
        so_far = self._longest_chunk_milliseconds if self._made_samples else 0
        self._longest_chunk_milliseconds = max(so_far, chunk_milliseconds)
        self._made_samples += len(chunk)
        if self._made_samples > self._most_samples:
            raise VoxFleetError(
                FailureClass.CONTRACT_VIOLATION,
                "the audio of the text would last longer than maxClip; send a shorter text, or raise input.maxClip",
            )
        return within_full_scale(chunk, self._clipping)
