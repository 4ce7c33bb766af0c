"""How much audio may wait outside of the ring, and what counts as inference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from voxfleet_agent.audio.ring_buffer import BYTES_PER_FRAME, RingBuffer
from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.lane_protocol.messages import ClipMessage, Message, VerdictMessage
from voxfleet_agent.worker import transcribe
from voxfleet_agent.worker.decode_thread import ClipJob, Decoded, Piece, Samples
from voxfleet_agent.worker.transcribe import ClipTranscription
from voxfleet_agent.worker.transcript_judge import Shortfall, TranscriptJudge
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.contract_limits import Completeness

ROOM_FRAMES = 1000


class Model:
    """Records the number of frames of each call, padding included."""

    sample_rate_hz = 16_000
    family = "noting"
    batches = True
    tells_progress = False
    parameters = 0
    dtype = "float32"

    def __init__(self) -> None:
        self.padded_frames: list[int] = []

    def transcribe(
        self, clips: Sequence[Samples], *, enlarged: bool = False, heard: Callable[[int], None] | None = None
    ) -> list[Transcript]:
        self.padded_frames.append(len(clips) * max(len(samples) for samples in clips))
        return [Transcript("") for _ in clips]

    def warm_up(self) -> None: ...


def judge(shortfall: Shortfall) -> TranscriptJudge:
    return TranscriptJudge(shortfall, lambda samples, _: np.zeros(len(samples), np.bool_), Completeness(), 16_000)


@pytest.mark.parametrize(
    ("frames", "padded"),
    [
        ((250, 250, 250, 250), [1000]),
        ((400, 400, 400, 400), [800, 800]),
        ((300, 300, 400, 300), [600, 800]),  # three of the longest would be 1200
        ((1000, 10, 10, 10), [1000, 30]),
        ((2000, 1000), [2000, 1000]),  # the longest piece goes alone, whatever the room
    ],
)
def test_a_batch_is_inferred_before_its_padding_outgrows_the_room(frames: tuple[int, ...], padded: list[int]) -> None:
    model, ring, sent = Model(), RingBuffer(4000), list[Message]()
    room_bytes = ROOM_FRAMES * BYTES_PER_FRAME
    transcription = ClipTranscription(model, ring, judge(lambda *_: None), room_bytes, sent.append)
    jobs = [ClipJob(ClipMessage(index=index, path=Path("/clip"))) for index in range(len(frames))]
    transcription.add_batch(jobs, batch_size=8)
    for job, count in zip(jobs, frames, strict=True):
        piece = Piece(job, 0, ring.write(np.zeros(count, np.float32)), 0, np.zeros(0, np.bool_), 0)
        if not transcription.has_room(piece):
            assert transcription.infer(all_waiting=True)
        transcription.add_piece(piece)
    transcription.infer(all_waiting=True)
    assert model.padded_frames == padded


def test_the_second_try_of_a_cut_transcript_counts_as_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a row calls it waiting."""
    now_ns, sent = 0, list[Message]()

    class Slow(Model):
        def transcribe(
            self, clips: Sequence[Samples], *, enlarged: bool = False, heard: Callable[[int], None] | None = None
        ) -> list[Transcript]:
            nonlocal now_ns
            now_ns += 3_000_000_000 if enlarged else 2_000_000_000
            return [Transcript("", token_limit_reached=not enlarged) for _ in clips]

    monkeypatch.setattr(transcribe, "time", SimpleNamespace(monotonic_ns=lambda: now_ns))
    ring = RingBuffer(100)
    shortfall = lambda transcript, *_: "cut" if transcript.token_limit_reached else None  # noqa: E731
    transcription = ClipTranscription(Slow(), ring, judge(shortfall), 400, sent.append)
    job = ClipJob(ClipMessage(index=0, path=Path("/clip")))
    transcription.add_batch([job], batch_size=1)
    transcription.add_piece(Piece(job, 0, ring.write(np.zeros(100, np.float32)), 0, np.zeros(0, np.bool_), 0))
    transcription.add_end(Decoded(job, pieces=1, decode_milliseconds=0))
    transcription.infer(all_waiting=True)
    (verdict,) = (message for message in sent if isinstance(message, VerdictMessage))
    assert (verdict.infer_milliseconds, verdict.retried_for) == (5_000, (FailureClass.TRUNCATED_OUTPUT,))
