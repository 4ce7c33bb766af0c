"""The child counts each wait of its model for decoded audio, with what the decoding thread did meanwhile."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from tests.component.lanes import stand_in_worker
from tests.component.lanes.lane_rig import contract, load_request, tone

from voxfleet_agent.audio.levels import QuietedStretch
from voxfleet_agent.audio.ring_buffer import RingBuffer
from voxfleet_agent.engine.speech_detection import audible_speech
from voxfleet_agent.lane_protocol.messages import (
    BatchDone,
    BatchMessage,
    ClipMessage,
    Message,
    VerdictMessage,
    WorkerReadings,
)
from voxfleet_agent.mlx_audio_names import SAMPLE_RATE
from voxfleet_agent.worker.decode_thread import ClipJob, Decoded, DecodeThread, DecodeThreadFailed, Piece, Samples
from voxfleet_agent.worker.loop import Item, WorkerLoop
from voxfleet_agent.worker.underruns import DecodeTimes
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

PATIENCE_SECONDS = 60
SPENT_NS = 3_000_000


class Inbox(queue.SimpleQueue[Item]):
    """Says when the model has heard a clip and waits for what comes next."""

    def __init__(self) -> None:
        super().__init__()
        self.heard_one = False
        self.waits = threading.Event()

    def get(self, block: bool = True, timeout: float | None = None) -> Item:
        if block and self.heard_one and self.empty():
            self.waits.set()
        return super().get(block, timeout)


class SecondIsLate(stand_in_worker.Decoder):
    """Gives the second clip only once the model is done with the first and waits."""

    def __init__(self, inbox: Inbox, path: Path, declared: VoiceContractSpec, rate_hz: int) -> None:
        super().__init__(path, declared, rate_hz)
        self._inbox, self._late = inbox, path.stem == "1"

    def pieces(self, examine: Callable[[QuietedStretch], None]) -> Iterator[Samples]:
        if self._late:
            assert self._inbox.waits.wait(PATIENCE_SECONDS)
        yield from super().pieces(examine)


def test_a_wait_for_a_clip_that_is_late_is_counted_by_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SAMPLE_RATE, "16000")  # the loop sets it for the whole process
    inbox, readings = Inbox(), list[WorkerReadings]()

    def send(message: Message) -> None:
        inbox.heard_one = inbox.heard_one or isinstance(message, VerdictMessage)
        if isinstance(message, BatchDone):
            readings.append(message.readings)
            inbox.put(DecodeThreadFailed(EOFError()))  # ends the loop

    backends = replace(
        stand_in_worker.backends({}),
        open_decoder=lambda *arguments: SecondIsLate(inbox, *arguments),
        load_transcriber=lambda *_: stand_in_worker.Model({}, tmp_path),
    )
    loop = WorkerLoop(backends, inbox, send, lambda: None)
    clips = tuple(ClipMessage(index=index, path=tone(tmp_path / f"{index}.wav", index + 1)) for index in range(2))
    inbox.put(load_request(tmp_path))
    inbox.put(BatchMessage(number=1, clips=clips, batch_size=1))
    with suppress(EOFError):
        loop.serve()
    (last,) = readings
    assert last.ring_underruns >= 1
    assert sum(last.ring_underruns_by_cause.values()) == last.ring_underruns


def times_of(path: Path, decode: Callable[[], None] = lambda: None) -> list[DecodeTimes]:
    """Those of the clip's only piece and of its end."""

    class Decoder(stand_in_worker.Decoder):
        def pieces(self, examine: Callable[[QuietedStretch], None]) -> Iterator[Samples]:
            decode()
            yield from super().pieces(examine)

    items = queue.SimpleQueue[Piece | Decoded | DecodeThreadFailed]()
    thread = DecodeThread(Decoder, audible_speech, lambda message: None, items.put)
    thread.put(contract(), 16_000, RingBuffer(16_000), [ClipJob(ClipMessage(index=0, path=path))])
    piece, end = items.get(timeout=PATIENCE_SECONDS), items.get(timeout=PATIENCE_SECONDS)
    assert isinstance(piece, Piece) and isinstance(end, Decoded) and end.failure is None
    return [piece.took, end.took]


def test_what_a_decoder_computes_is_its_processor_time(tmp_path: Path) -> None:
    def compute() -> None:
        began_ns = time.thread_time_ns()
        while time.thread_time_ns() - began_ns < SPENT_NS:
            pass

    piece, end = times_of(tone(tmp_path / "0.wav", 1), compute)
    assert piece.processor_ns >= SPENT_NS and piece.wall_ns >= SPENT_NS
    assert end.processor_ns < piece.processor_ns, "each has what came since the one before"


def test_what_a_read_waits_for_is_the_disks_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, never = os.readv, threading.Event()

    def slow(descriptor: int, buffers: Sequence[bytearray]) -> int:
        never.wait(SPENT_NS / 10**9)  # a disk that takes its time
        return read(descriptor, buffers)

    monkeypatch.setattr(os, "readv", slow)
    piece, _ = times_of(tone(tmp_path / "0.wav", 1))
    assert piece.disk_ns >= SPENT_NS
    assert piece.wall_ns >= piece.disk_ns
