"""Whether a transcript is complete: espeak-ng speech compared with noise, hum, tones and music."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from voxfleet_agent.engine.completeness import shortfall
from voxfleet_agent.engine.speech_detection import FRAME_MILLISECONDS, audible_speech
from voxfleet_agent.engine.transcriber import MlxTranscriber
from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_api.rows import TimedText

Samples = npt.NDArray[np.float32]
Examples = dict[str, tuple[Samples, str]]
RATE_HZ = 22_050
SECONDS = 4.0
SENTENCE = "the quick brown fox jumps over the lazy dog near the river bank"


def missing(
    transcript: Transcript, samples: npt.NDArray[np.float32], sample_rate_hz: int, min_coverage_percent: int
) -> str | None:
    return shortfall(transcript, audible_speech(samples, sample_rate_hz), min_coverage_percent)


def speech(text: str = SENTENCE, voice: str = "en", words_per_minute: int = 170) -> Samples:
    """espeak-ng's speech at its own rate, RATE_HZ."""
    command = ["espeak-ng", "-v", voice, "-s", str(words_per_minute), "--stdout", text]
    wav = subprocess.run(command, capture_output=True, check=True).stdout
    start = wav.index(b"data") + 8
    samples = np.frombuffer(wav[start : len(wav) // 2 * 2], dtype="<i2")
    return (samples / 32768).astype(np.float32)


def moments(seconds: float = SECONDS) -> npt.NDArray[np.float64]:
    return np.arange(int(RATE_HZ * seconds)) / RATE_HZ


def noise(exponent: float = 0.0, level: float = 0.1) -> Samples:
    """White (exponent 0), pink (0.5) or brown (1) noise."""
    spectrum = np.fft.rfft(np.random.default_rng(3).standard_normal(len(moments())))
    coloured = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 40) ** exponent)
    samples: Samples = (level * coloured / coloured.std()).astype(np.float32)
    return samples


def tone(hertz: float) -> Samples:
    return (0.5 * np.sin(2 * np.pi * hertz * moments())).astype(np.float32)


def notes(per_second: float, decay: float, voices: int) -> Samples:
    """Chords of notes with a few harmonics; `decay` 0 sustains them."""
    t, out = moments(), np.zeros(len(moments()))
    chords = ((261.6, 329.6, 392.0), (349.2, 440.0, 523.3), (392.0, 493.9, 587.3), (220.0, 277.2, 329.6))
    for number in range(int(SECONDS * per_second)):
        here = (t >= number / per_second) & (t < (number + 1) / per_second)
        since = t[here] - number / per_second
        for hertz in chords[number % 4][:voices]:
            for harmonic in range(1, 9):
                out[here] += 0.1 * np.exp(-decay * since) * np.sin(2 * np.pi * hertz * harmonic * since) / harmonic
    return out.astype(np.float32)


def gated(samples: Samples, per_second: float) -> Samples:
    return (samples * ((moments() * per_second) % 1 < 0.5)).astype(np.float32)


def clicks() -> Samples:
    samples = np.zeros(len(moments()), dtype=np.float32)
    samples[:: RATE_HZ // 3] = 0.9
    return samples


def hum() -> Samples:
    t = moments()
    harmonics = np.arange(1, 20)[:, None]
    samples: Samples = (np.sin(2 * np.pi * 50 * harmonics * t) / (10 * harmonics)).sum(axis=0).astype(np.float32)
    return samples


NO_SPEECH: dict[str, Callable[[], Samples]] = {
    "silence": lambda: np.zeros(len(moments()), dtype=np.float32),
    **{f"white noise at {level}": partial(noise, 0, level) for level in (0.3, 0.03, 0.003, 0.0003)},
    "pink noise": lambda: noise(0.5),
    "brown noise": lambda: noise(1),
    **{f"a tone of {hertz} Hz": partial(tone, hertz) for hertz in (100, 440, 1000, 3000)},
    "mains hum": hum,
    "beeps": lambda: gated(tone(1000), 2),
    "held chords": lambda: notes(2, 0, 3),
    "struck chords": lambda: notes(2, 6, 3),
    "a fast melody": lambda: notes(4, 8, 1),
    "bursts of noise": lambda: gated(noise(), 3),
    "noise that swells at the rate of syllables": lambda: (
        noise() * (1 + 0.9 * np.sin(2 * np.pi * 4 * moments()))
    ).astype(np.float32),
    "a sweep": lambda: (0.3 * np.sin(2 * np.pi * (200 * moments() + 300 * moments() ** 2))).astype(np.float32),
    "clicks": clicks,
}
SPEECH: dict[str, Callable[[], Samples]] = {
    **{
        f"{voice} at {speed}": partial(speech, voice=voice, words_per_minute=speed)
        for voice in ("en", "en-us+f3", "de", "fr", "en+whisper", "en+croak")
        for speed in (120, 260)
    },
    "one word": lambda: speech("seven"),
    "vowels": lambda: speech("eeeee aaaah oooo"),
}
EMPTY = Transcript("")


@pytest.mark.parametrize("name", SPEECH)
def test_an_empty_transcript_of_speech_is_short(name: str) -> None:
    reason = missing(EMPTY, SPEECH[name](), RATE_HZ, 90)
    assert reason is not None and "empty" in reason


@pytest.mark.parametrize("surrounded", [False, True], ids=["alone", "switched on and off"])
@pytest.mark.parametrize("seconds", [0.5, 2.0, SECONDS])
@pytest.mark.parametrize("name", NO_SPEECH)
def test_an_empty_transcript_of_anything_else_is_complete(name: str, seconds: float, surrounded: bool) -> None:
    samples = NO_SPEECH[name]()[: int(seconds * RATE_HZ)]
    if surrounded:
        quiet = np.zeros(RATE_HZ, dtype=np.float32)
        samples = np.concatenate([quiet, samples, quiet[::2]])
    assert missing(EMPTY, samples, RATE_HZ, 90) is None


def test_slowly_swelling_wind_is_not_speech() -> None:
    swell = 10 ** (0.75 * np.sin(2 * np.pi * 0.25 * moments()))
    assert missing(EMPTY, (noise(1) * swell).astype(np.float32), RATE_HZ, 90) is None


@pytest.mark.parametrize(("decibels", "detected"), [(30, True), (20, True), (10, True), (-5, False)])
def test_speech_in_noise_is_detected_until_the_noise_masks_it(decibels: int, detected: bool) -> None:
    clean = speech()
    loud = noise()[np.arange(len(clean)) % len(noise())]
    mixed = clean + loud / loud.std() * clean.std() * 10 ** (-decibels / 20)
    assert (missing(EMPTY, mixed.astype(np.float32), RATE_HZ, 90) is not None) is detected


@pytest.mark.parametrize("gain", [0.01, 0.1, 1.0, 4.0])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000, 48_000])
def test_level_and_rate_do_not_matter(gain: float, rate_hz: int) -> None:
    samples = speech()
    at_rate = np.interp(
        np.arange(len(samples) * rate_hz // RATE_HZ) * RATE_HZ / rate_hz, np.arange(len(samples)), samples
    )
    assert missing(EMPTY, (gain * at_rate).astype(np.float32), rate_hz, 90) is not None


def test_a_phrase_in_a_long_silence_and_after_music_is_found() -> None:
    phrase = speech("seven eight nine ten")
    silence = np.zeros(30 * RATE_HZ, dtype=np.float32)
    found = audible_speech(np.concatenate([silence, phrase, silence, notes(2, 6, 3)]), RATE_HZ)
    start, end = 30_000 // FRAME_MILLISECONDS, int(30 + len(phrase) / RATE_HZ) * 1000 // FRAME_MILLISECONDS
    assert found[start : end + 50].sum() * FRAME_MILLISECONDS > 800
    assert found.sum() == found[start : end + 50].sum()


@pytest.mark.parametrize("length", [0, 1, 100, 700, 2000])
def test_clips_of_almost_nothing_are_complete(length: int) -> None:
    assert missing(EMPTY, noise()[:length], RATE_HZ, 90) is None


@pytest.fixture(scope="module")
def transcripts(default_model: MlxTranscriber, examples: Examples) -> dict[str, Transcript]:
    return {name: default_model.transcribe([samples])[0] for name, (samples, _) in examples.items()}


def test_no_good_example_is_flagged(transcripts: dict[str, Transcript], examples: Examples) -> None:
    reasons = {name: missing(transcripts[name], examples[name][0], 16_000, 90) for name in examples}
    assert len(reasons) == 32 and {name: reason for name, reason in reasons.items() if reason} == {}


def test_every_example_cut_to_its_first_half_is_flagged(transcripts: dict[str, Transcript], examples: Examples) -> None:
    for name, (samples, _) in examples.items():
        words = transcripts[name].words or ()
        kept = words[: len(words) // 2]
        cut = Transcript(" ".join(word.text for word in kept), words=kept)
        reason = missing(cut, samples, 16_000, 90)
        assert reason is not None, name
        assert ("contract asks for 90 %" in reason) is bool(kept)


def timed(start: int, end: int, text: str = "x") -> TimedText:
    return TimedText(start_milliseconds=start, end_milliseconds=end, text=text)


@pytest.mark.parametrize(
    ("transcript", "min_coverage_percent", "complete"),
    [
        pytest.param(Transcript("x", words=(timed(0, 3900),)), 90, True, id="one text over all of it"),
        pytest.param(Transcript("x", words=(timed(0, 1900),)), 90, False, id="the first half"),
        pytest.param(Transcript("x", words=(timed(2000, 3900),)), 90, False, id="the second half"),
        pytest.param(Transcript("x", words=(timed(0, 1000), timed(2900, 3900))), 90, False, id="without its middle"),
        pytest.param(Transcript("x", words=(timed(0, 1500), timed(2200, 3900))), 90, True, id="a bridged gap"),
        pytest.param(
            Transcript("x", words=(timed(0, 1200), timed(1950, 2500), timed(3250, 3900))), 90, True, id="bridged gaps"
        ),
        pytest.param(Transcript("x", words=(timed(2200, 3900), timed(0, 1500))), 90, True, id="in any order"),
        pytest.param(Transcript("x", segments=(timed(0, 1900),)), 90, False, id="segments count without words"),
        pytest.param(Transcript("x", (timed(0, 3900),), (timed(0, 900),)), 90, False, id="words count before segments"),
        pytest.param(Transcript("x", words=(timed(0, 1900),)), 40, True, id="as much as the contract asks for"),
        pytest.param(Transcript("x", words=(timed(0, 100),)), 0, True, id="not checked"),
        pytest.param(Transcript("x"), 90, True, id="no times"),
        pytest.param(Transcript("", words=()), 0, False, id="empty is short whatever coverage is asked for"),
        pytest.param(Transcript("x", words=(timed(0, 3900),), token_limit_reached=True), 0, False, id="token limit"),
    ],
)
def test_coverage_of_four_seconds_of_speech(transcript: Transcript, min_coverage_percent: int, complete: bool) -> None:
    samples = np.tile(speech(), 2)[: 4 * RATE_HZ]
    reason = missing(transcript, samples, RATE_HZ, min_coverage_percent)
    assert (reason is None) is complete


def test_reasons_hold_no_text(transcripts: dict[str, Transcript], examples: Examples) -> None:
    name = next(iter(examples))
    cut = replace(transcripts[name], words=(transcripts[name].words or ())[:1])
    reason = missing(cut, examples[name][0], 16_000, 90)
    assert reason is not None and not any(word in reason for word in examples[name][1].split())


def test_it_needs_no_mlx() -> None:
    for module in ("speech_detection", "completeness", "transcripts"):
        source = (Path(__file__).parents[3] / "agent/voxfleet_agent/engine" / f"{module}.py").read_text()
        assert "import mlx" not in source
