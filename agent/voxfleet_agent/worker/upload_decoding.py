"""Decodes an upload, on a thread of its own, and no further ahead of the model than a piece.

A decoder that never comes back from a stranger's bytes keeps its thread and its room, and holds up nobody else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from voxfleet_agent.worker.decode_thread import AudibleSpeech, ClipDecoder, Mask, Samples, decoding_failure
from voxfleet_agent.worker.load_refusals import file_refusal
from voxfleet_agent.worker.mixdown_judge import MixdownJudge
from voxfleet_api.failures import FailureClass, VoxFleetError

LEAST_DECODING_SECONDS = 20


def most_decoding_seconds(longest_piece_milliseconds: int, size_bytes: int) -> float:
    """How long the next piece of a file of this size may take. Pure.

    A second of 48 kHz stereo with its resample takes 5 ms of a processor, and may take ten times as long, for it may
    share that. But a few bytes have no right to that, however long a recording they announce: 200 us for each.
    """
    return LEAST_DECODING_SECONDS + min(longest_piece_milliseconds / 20_000, size_bytes / 5_000)


@dataclass(frozen=True, slots=True)
class UploadedPiece:
    """A piece of the recording, as TranscriptJudge judges it."""

    samples: Samples
    """(N,) float32 at the model's rate."""
    start_milliseconds: int
    end_milliseconds: int
    """Of the recording."""
    speech: Mask
    quieted: str | None


@dataclass(frozen=True, slots=True)
class UploadEnd:
    """No piece follows."""

    audio_milliseconds: int
    failure: VoxFleetError | None = None


class UploadDecoding:
    def __init__(
        self,
        open_decoder: Callable[[], ClipDecoder],
        opened: Callable[[], None],
        audible_speech: AudibleSpeech,
        rate_hz: int,
        changed: Callable[[], None],
        gone: Callable[[], None],
    ) -> None:
        """Starts the thread. It calls `opened` when the decoder needs the file's name no more, `changed` when there is
        something to take, and `gone` as it ends.
        """
        self._open_decoder = open_decoder
        self._opened = opened
        self._audible_speech = audible_speech
        self._rate_hz = rate_hz
        self._changed = changed
        self._gone = gone
        self._lock = threading.Condition()
        self._waiting: UploadedPiece | UploadEnd | None = None
        self._closed = False
        self.since_ns = time.monotonic_ns()
        """Since when there is something to take; while there is not, since when it decodes."""
        threading.Thread(target=self._run, daemon=True, name="upload").start()

    @property
    def ready(self) -> bool:
        return self._waiting is not None

    def take(self) -> UploadedPiece | UploadEnd:
        """What is ready; the next piece is decoded then. Raises RuntimeError when nothing is."""
        with self._lock:
            taken, self._waiting, self.since_ns = self._waiting, None, time.monotonic_ns()
            self._lock.notify()
        if taken is None:
            raise RuntimeError("nothing is decoded yet")
        return taken

    def close(self) -> None:
        """Nobody takes anything any more: the thread ends with the piece that it decodes."""
        with self._lock:
            self._closed, self._waiting = True, None
            self._lock.notify()

    def _run(self) -> None:
        try:
            end = self._decoded()
            self._hand_over(end)
        finally:
            self._gone()

    def _decoded(self) -> UploadEnd:
        """Hands over all pieces; in a frame of its own, so that a decoder's memory goes with it."""
        try:
            decoder = self._open_decoder()
            count = 0
            for piece in self._pieces(decoder):
                if not self._hand_over(piece):
                    return UploadEnd(0)
                count += 1
            if count == 0:
                raise VoxFleetError(FailureClass.DECODE_ERROR, "decodes to no audio")
            return UploadEnd(decoder.audio_milliseconds)
        except OSError as error:
            refusal = file_refusal(error)
            return UploadEnd(0, VoxFleetError(refusal.failure_class, refusal.message))
        except Exception as error:  # noqa: BLE001 - strangers' bytes must not end the lane; the session's end names the type
            return UploadEnd(0, decoding_failure(error))

    def _pieces(self, decoder: ClipDecoder) -> Iterator[UploadedPiece]:
        """A piece comes when the next one is there, which tells its end, and that the recording is whole so far."""
        judge, number = MixdownJudge(), 0
        pending: Samples | None = None
        for samples in decoder.pieces(judge.examine):
            self._opened()
            if pending is not None:
                yield self._piece(decoder, judge, number, pending, decoder.piece_starts_milliseconds[number + 1])
                number += 1
            pending = samples
        if pending is not None:
            yield self._piece(decoder, judge, number, pending, decoder.audio_milliseconds)

    def _piece(
        self, decoder: ClipDecoder, judge: MixdownJudge, number: int, samples: Samples, end_milliseconds: int
    ) -> UploadedPiece:
        start_milliseconds = decoder.piece_starts_milliseconds[number]
        speech = self._audible_speech(samples, self._rate_hz)
        speech = speech | judge.speech(start_milliseconds, len(speech))
        return UploadedPiece(samples, start_milliseconds, end_milliseconds, speech, judge.note)

    def _hand_over(self, item: UploadedPiece | UploadEnd) -> bool:
        """Waits until it is taken. Returns whether anybody still takes anything."""
        with self._lock:
            if self._closed:
                return False
            self._waiting, self.since_ns = item, time.monotonic_ns()
        self._changed()
        with self._lock:
            self._lock.wait_for(lambda: self._closed or self._waiting is None)
            return not self._closed
