"""Texts of the kind that Whisper tiny.en invents, beside sounds of the kind that it invents them for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from tests.component.engine.test_completeness import NO_SPEECH, RATE_HZ, SENTENCE, notes, speech

from voxfleet_agent.audio.ring_buffer import RingSlot
from voxfleet_agent.engine.completeness import shortfall
from voxfleet_agent.engine.silero import SileroDetector
from voxfleet_agent.engine.speech_detection import audible_speech
from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.lane_protocol.messages import ClipMessage
from voxfleet_agent.worker.decode_thread import ClipJob, Piece
from voxfleet_agent.worker.transcript_judge import Judgement, TranscriptJudge
from voxfleet_api.kinds.contract_limits import Completeness
from voxfleet_api.rows import TimedText

Samples = npt.NDArray[np.float32]
SPOKEN = speech()
SPOKEN_SECONDS = len(SPOKEN) / RATE_HZ
GAP_SECONDS = 30


@pytest.fixture(scope="module")
def judge() -> TranscriptJudge:
    return TranscriptJudge(shortfall, SileroDetector().audible_speech, Completeness(), RATE_HZ)


def judged(judge: TranscriptJudge, samples: Samples, *segments: tuple[float, float, str]) -> Judgement:
    """`segments`: (start, end, text) in seconds."""
    timed = tuple(
        TimedText(start_milliseconds=int(1000 * start), end_milliseconds=int(1000 * end), text=text)
        for start, end, text in segments
    )
    job = ClipJob(ClipMessage(index=0, path=Path("/clip")))
    piece = Piece(job, 0, RingSlot(0, len(samples)), 0, audible_speech(samples, RATE_HZ), 0)
    return judge.judge(Transcript(" ".join(part.text for part in timed), timed), piece, samples)


def around(gap: Samples) -> Samples:
    return np.concatenate([SPOKEN, gap, SPOKEN])


@pytest.mark.parametrize(
    "name", ["silence", "white noise at 0.0003", "pink noise", "struck chords", "mains hum", "clicks"]
)
@pytest.mark.parametrize("text", ["Thank you.", ". . . .", "you", "s " * 220])
def test_no_text_over_sounds_without_speech_passes(judge: TranscriptJudge, name: str, text: str) -> None:
    assert judged(judge, NO_SPEECH[name](), (0, 4, text)).unspoken


@pytest.mark.parametrize(
    "gap",
    [
        np.zeros(GAP_SECONDS * RATE_HZ, np.float32),
        np.random.default_rng(1).normal(0, 0.001, GAP_SECONDS * RATE_HZ).astype(np.float32),
        np.resize(notes(2, 6, 3), GAP_SECONDS * RATE_HZ),
    ],
    ids=["silence", "noise", "music"],
)
def test_a_sentence_in_a_gap_of_30_seconds_is_told_with_its_times(judge: TranscriptJudge, gap: Samples) -> None:
    second = SPOKEN_SECONDS + GAP_SECONDS
    last = (second, second + SPOKEN_SECONDS, SENTENCE)
    found = judged(judge, around(gap), (0, SPOKEN_SECONDS, SENTENCE), (10, 24, "Thank you for watching."), last)
    (span,) = found.unspoken
    assert (span.start_milliseconds, span.end_milliseconds) == (10_000, 24_000) and found.short is None
    assert judged(judge, around(gap), (0, SPOKEN_SECONDS, SENTENCE), last) == Judgement()


@pytest.mark.parametrize("loop", ["s " * 220, "I'm going to " * 40, "ha" * 200])
def test_a_loop_behind_speech_is_told(judge: TranscriptJudge, loop: str) -> None:
    found = judged(judge, np.tile(SPOKEN, 2), (0, SPOKEN_SECONDS, SENTENCE), (SPOKEN_SECONDS, 2 * SPOKEN_SECONDS, loop))
    assert found.repeated and not found.unspoken


@pytest.mark.parametrize("words_per_minute", [120, 170, 260])
@pytest.mark.parametrize("text", [SENTENCE, "no " * 30, "very very very very very good", "go back " * 12, "yes"])
def test_what_is_said_passes_however_often(judge: TranscriptJudge, text: str, words_per_minute: int) -> None:
    samples = speech(text, words_per_minute=words_per_minute)
    assert judged(judge, samples, (0, len(samples) / RATE_HZ, text.strip())) == Judgement()
