"""What Silero VAD hears: speech of several voices and rates, and none in noise, hum, tones and music."""

from __future__ import annotations

import numpy as np
import pytest
from tests.component.engine.test_completeness import NO_SPEECH, RATE_HZ, SENTENCE, notes, speech

from voxfleet_agent.engine.silero import SileroDetector
from voxfleet_agent.engine.speech_detection import FRAME_MILLISECONDS, audible_speech


@pytest.fixture(scope="module")
def silero() -> SileroDetector:
    return SileroDetector()


@pytest.mark.parametrize("name", NO_SPEECH)
def test_what_is_no_speech_is_not_heard(silero: SileroDetector, name: str) -> None:
    assert silero.audible_speech(NO_SPEECH[name]()[: 2 * RATE_HZ], RATE_HZ).sum() * FRAME_MILLISECONDS < 100


@pytest.mark.parametrize("voice", ["en", "en-us+f3", "de", "fr", "en+croak"])
def test_both_detectors_agree_about_speech(silero: SileroDetector, voice: str) -> None:
    samples = speech(SENTENCE, voice)
    cheap, costly = audible_speech(samples, RATE_HZ), silero.audible_speech(samples, RATE_HZ)
    assert (cheap & costly).sum() > 0.9 * cheap.sum()


@pytest.mark.parametrize(
    ("rate_hz", "silent_seconds"), [(8_000, 1), (16_000, 1), (22_050, 1), (24_000, 1), (44_100, 40), (48_000, 1)]
)
def test_frames_are_those_of_the_cheap_detector_at_any_rate(
    silero: SileroDetector, rate_hz: int, silent_seconds: int
) -> None:
    """40 s are more than is resampled at once."""
    phrase = speech("seven eight nine ten")
    at_rate = np.interp(np.arange(0, len(phrase), RATE_HZ / rate_hz), np.arange(len(phrase)), phrase)
    samples = np.concatenate([np.zeros(silent_seconds * rate_hz), at_rate]).astype(np.float32)
    heard = silero.audible_speech(samples, rate_hz)
    assert len(heard) == len(audible_speech(samples, rate_hz))
    begins = silent_seconds * 1000 // FRAME_MILLISECONDS
    assert not heard[:begins].any()
    assert heard[begins:].sum() * FRAME_MILLISECONDS > 800


@pytest.mark.parametrize("length", [0, 1, 511, 512, 513, 5000])
def test_clips_of_almost_nothing_have_the_frames_of_the_cheap_detector(silero: SileroDetector, length: int) -> None:
    samples = np.zeros(length, np.float32)
    assert len(silero.audible_speech(samples, 16_000)) == len(audible_speech(samples, 16_000))


def test_a_clip_leaves_nothing_behind_for_the_next(silero: SileroDetector) -> None:
    music, spoken = notes(2, 6, 3), speech()
    first = silero.audible_speech(music, RATE_HZ)
    silero.audible_speech(spoken, RATE_HZ)
    assert (silero.audible_speech(music, RATE_HZ) == first).all()
