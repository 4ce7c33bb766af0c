"""What is made of recordings: the same seed, the same samples; stated levels and times are kept."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest

from voxfleet_accuracy.sounds import (
    Samples,
    heard_span,
    joined,
    level,
    mixed,
    resampled,
    telephone,
    wav,
    white_noise,
    with_gap,
)

RATE_HZ = 8_000


def tone(seconds: float, loudness: float = 0.3, hz: float = 440.0) -> Samples:
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (loudness * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE_HZ), dtype=np.float32)


def test_noise_lies_so_far_below_the_level_of_what_is_heard_and_not_of_the_pauses() -> None:
    speech = np.concatenate([silence(3.0), tone(1.0)])
    noisy = mixed(speech, white_noise(2_000, 1), 20.0)
    noise = noisy[: 3 * RATE_HZ]
    distance_db = 20 * np.log10(level(speech) / np.sqrt(np.mean(noise**2)))
    assert distance_db == pytest.approx(20.0, abs=0.3)


def test_what_is_mixed_stays_within_full_scale() -> None:
    assert np.max(np.abs(mixed(tone(1.0, 0.9), white_noise(RATE_HZ, 1), 0.0))) <= 0.95 + 1e-6


def test_the_same_seed_gives_the_same_noise_and_another_one_another() -> None:
    assert np.array_equal(white_noise(100, 7), white_noise(100, 7))
    assert not np.array_equal(white_noise(100, 7), white_noise(100, 8))


def test_a_gap_lies_at_the_pause_in_the_middle_and_nothing_is_lost() -> None:
    samples = np.concatenate([tone(1.0), silence(0.3), tone(0.9)])
    gapped = with_gap(samples, RATE_HZ, 2.0)
    assert len(gapped) == len(samples) + 2 * RATE_HZ
    assert not np.any(gapped[round(1.2 * RATE_HZ) : round(3.1 * RATE_HZ)])
    assert np.sum(gapped**2) == pytest.approx(np.sum(samples**2))


def test_a_telephone_lets_speech_through_and_no_hum() -> None:
    assert level(telephone(tone(1.0, hz=1_000.0), RATE_HZ)) == pytest.approx(level(tone(1.0)), rel=0.05)
    assert level(telephone(tone(1.0, hz=50.0), RATE_HZ)) < 0.05 * level(tone(1.0))


def test_resampling_keeps_length_and_level() -> None:
    up = resampled(tone(1.0), RATE_HZ, 44_100)
    assert len(up) == 44_100
    assert level(up) == pytest.approx(level(tone(1.0)), rel=0.02)


def test_joined_texts_are_heard_when_it_is_said() -> None:
    parts = [(str(number), np.concatenate([silence(0.5), tone(1.0), silence(0.2)])) for number in range(10)]
    samples, spoken = joined(parts, RATE_HZ, 12.0, seed=3)
    assert len(samples) <= 12 * RATE_HZ
    assert len({part.text for part in spoken}) == len(spoken) >= 4
    for part in spoken:
        begins, ends = round(part.start_seconds * RATE_HZ), round(part.end_seconds * RATE_HZ)
        assert np.allclose(samples[begins:ends], tone(1.0), atol=1e-6)
        assert not np.any(samples[begins - round(0.5 * RATE_HZ) : begins])


def test_joining_with_the_same_seed_gives_the_same_file() -> None:
    parts = [(str(number), tone(0.1 * (number + 1))) for number in range(5)]
    assert joined(parts, RATE_HZ, 5.0, seed=3)[1] == joined(parts, RATE_HZ, 5.0, seed=3)[1]
    assert joined(parts, RATE_HZ, 5.0, seed=3)[1] != joined(parts, RATE_HZ, 5.0, seed=4)[1]


def test_all_of_a_silent_file_is_its_span() -> None:
    assert heard_span(silence(1.0), RATE_HZ) == (0, RATE_HZ)


def test_a_wav_file_has_the_samples_in_each_channel() -> None:
    with wave.open(io.BytesIO(wav(np.array([0.0, 0.5, -1.0, 1.5], dtype=np.float32), RATE_HZ, channels=2))) as opened:
        assert (opened.getframerate(), opened.getnchannels(), opened.getnframes()) == (RATE_HZ, 2, 4)
        frames = np.frombuffer(opened.readframes(4), dtype="<i2").reshape(4, 2)
    assert frames[:, 0].tolist() == frames[:, 1].tolist() == [0, 16_384, -32_768, 32_767]
