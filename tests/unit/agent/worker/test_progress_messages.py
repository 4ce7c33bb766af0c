"""When the parent learns of progress, and how often that wakes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from voxfleet_agent.audio.ring_buffer import RingBuffer
from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.lane_protocol.channel import can_be_buffered
from voxfleet_agent.lane_protocol.messages import ClipMessage, HeardAudio, InferringClips, Message, VerdictMessage
from voxfleet_agent.worker.decode_thread import ClipJob, Decoded, Piece, Samples
from voxfleet_agent.worker.transcribe import ClipTranscription
from voxfleet_agent.worker.transcript_judge import TranscriptJudge
from voxfleet_api.kinds.contract_limits import Completeness

RATE_HZ = 100
WINDOWS = 5
Wakes = list[list[Message]]
"""What the parent has received, by the write that brought it."""


class Channel:
    """Buffers as the child's channel does."""

    def __init__(self) -> None:
        self.wakes: Wakes = []
        self._buffered: list[Message] = []

    def send(self, message: Message) -> None:
        self._buffered.append(message)
        if not can_be_buffered(message):
            self.flush()

    def flush(self) -> None:
        if self._buffered:
            self.wakes.append(self._buffered)
            self._buffered = []

    def told(self) -> list[int]:
        return [item.audio_milliseconds for wake in self.wakes for item in wake if isinstance(item, HeardAudio)]


class Model:
    """Notes what the parent knows of the clip when it starts; tells its progress in the middle of a window."""

    sample_rate_hz = RATE_HZ
    family = "telling"
    parameters = 0
    dtype = "float32"

    def __init__(self, channel: Channel, *, batches: bool, tells_progress: bool) -> None:
        self.batches, self.tells_progress = batches, tells_progress
        self._channel = channel
        self.known_milliseconds: list[int] = []

    def transcribe(
        self, clips: Sequence[Samples], *, enlarged: bool = False, heard: Callable[[int], None] | None = None
    ) -> list[Transcript]:
        self.known_milliseconds.append(max(self._channel.told(), default=0))
        if self.tells_progress and heard is not None:
            heard(500)
            assert self._channel.told()[-1] % 1000 == 500, "it is told while the model works"
        return [Transcript("text") for _ in clips]

    def warm_up(self) -> None: ...


@pytest.mark.parametrize("tells_progress", [False, True])
@pytest.mark.parametrize("batch_size", [1, WINDOWS])
def test_the_end_of_a_window_wakes_nobody_and_is_told_before_the_model_goes_on(
    batch_size: int, tells_progress: bool
) -> None:
    channel, ring = Channel(), RingBuffer(WINDOWS * RATE_HZ)
    model = Model(channel, batches=batch_size > 1, tells_progress=tells_progress)
    silent = lambda samples, _: np.zeros(len(samples), np.bool_)  # noqa: E731
    judge = TranscriptJudge(lambda *_: None, silent, Completeness(), RATE_HZ)
    transcription = ClipTranscription(model, ring, judge, ring.size_bytes, channel.send)
    job = ClipJob(ClipMessage(index=2, path=Path("/clip")))
    transcription.add_batch([job], batch_size)
    for number in range(WINDOWS):
        slot = ring.write(np.zeros(RATE_HZ, np.float32))
        transcription.add_piece(Piece(job, number, slot, 1000 * number, np.zeros(0, np.bool_), 0))
    transcription.add_end(Decoded(job, WINDOWS, 1, 1000 * WINDOWS))
    assert transcription.infer(all_waiting=True)
    channel.flush()

    runs = len(model.known_milliseconds)
    assert runs == WINDOWS // batch_size
    assert model.known_milliseconds == [1000 * run for run in range(runs)]
    assert len(channel.wakes) == runs * (1 + (tells_progress and batch_size == 1)) + 1
    assert all(isinstance(wake[-1], InferringClips | HeardAudio) for wake in channel.wakes)
    assert isinstance(channel.wakes[-1][-2], VerdictMessage)
