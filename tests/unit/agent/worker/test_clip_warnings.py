"""What a clip's verdict warns of: a text without audible speech, and what decoding found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from voxfleet_agent.audio.levels import level_lost
from voxfleet_agent.audio.ring_buffer import RingBuffer
from voxfleet_agent.engine.completeness import shortfall
from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.lane_protocol.messages import ClipMessage, Message, VerdictMessage
from voxfleet_agent.worker.decode_thread import ClipJob, Decoded, Piece, Samples
from voxfleet_agent.worker.transcribe import ClipTranscription
from voxfleet_api.clip_warnings import WarningCode
from voxfleet_api.failures import FailureClass

LOST = level_lost("downmix Mean made it quieter")


class Model:
    """Returns these texts, one a piece."""

    sample_rate_hz = 16_000
    family = "dictated"
    batches = False
    tells_progress = False
    parameters = 0

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = list(texts)
        self._said = ""

    def transcribe(
        self, clips: Sequence[Samples], *, enlarged: bool = False, heard: Callable[[int], None] | None = None
    ) -> list[Transcript]:
        if not enlarged:
            self._said = self._texts.pop(0)
        return [Transcript(self._said) for _ in clips]

    def warm_up(self) -> None: ...


def verdict_of(pieces: Sequence[tuple[str, int]], *, quieted: str | None = None) -> VerdictMessage:
    """The verdict of a clip; its pieces are given as (text, frames with speech), 30 s apart."""
    ring, sent = RingBuffer(4000), list[Message]()
    transcription = ClipTranscription(Model([text for text, _ in pieces]), ring, shortfall, 90, 4000, sent.append)
    job = ClipJob(ClipMessage(index=4, path=Path("/clip")))
    transcription.add_batch([job], batch_size=1)
    for number, (_, frames) in enumerate(pieces):
        speech = np.arange(50) < frames
        piece = Piece(job, number, ring.write(np.zeros(500, np.float32)), 30_000 * number, speech, 0, quieted)
        transcription.add_piece(piece)
    transcription.add_end(Decoded(job, len(pieces), 1, 30_000 * len(pieces), warnings=(LOST,)))
    while transcription.infer(all_waiting=True):
        pass
    (verdict,) = [message for message in sent if isinstance(message, VerdictMessage)]
    return verdict


@pytest.mark.parametrize(
    ("pieces", "where"),
    [
        ([("thank you", 0)], "in the clip,"),
        ([("thank you", 4)], "in the clip,"),
        ([("hello", 40), ("thank you", 0), ("thank you", 0)], "in 2 of its 3 windows, the first from 30.0 s on,"),
    ],
)
def test_a_text_without_audible_speech_is_a_warning(pieces: list[tuple[str, int]], where: str) -> None:
    verdict = verdict_of(pieces)
    lost, unspoken = verdict.warnings
    assert verdict.failure_class is None and lost == LOST
    assert unspoken.code is WarningCode.NO_AUDIBLE_SPEECH and where in unspoken.message
    assert "thank" not in unspoken.message


@pytest.mark.parametrize("pieces", [[("yes", 5)], [("", 0)], [("hello", 40), ("", 0)]])
def test_speech_and_silence_need_no_warning(pieces: list[tuple[str, int]]) -> None:
    assert verdict_of(pieces).warnings == (LOST,)


def test_an_empty_text_where_a_channel_speaks_names_what_the_mix_did() -> None:
    verdict = verdict_of([("", 20)], quieted="downmix Mean made 0.4 s of speech quieter")
    assert verdict.failure_class is FailureClass.TRUNCATED_OUTPUT
    assert verdict.reason.endswith("0.4 s of speech are audible; downmix Mean made 0.4 s of speech quieter")
    assert verdict.warnings == (LOST,)
