"""Finds audible speech in a recording and distinguishes it from noise, hum, tones and music. NumPy only.

The recording is divided into frames of 32 ms every 20 ms, and into blocks of two seconds that overlap by half. A frame
contains speech when it is loud enough and one of its blocks sounds like speech. A block sounds like speech when,
between 150 and 4000 Hz, where speech has its energy and mains hum has little,

- its level swings at the rate of syllables, 2 to 10 Hz, by at least MIN_SWING_DECIBELS: speech measures 4.5 to 10 dB,
  down to 5 dB above white noise; steady noise, hum, and held tones and chords measure under 1 dB;
- its level varies by at least MIN_SPREAD_DECIBELS within its loud frames: speech, even one short word, measures 3.5 to
  5 dB; noise, hum, or a tone that is switched on and off measures under 2.6 dB;
- its spectrum is not flat: the flatness of speech is 0.01 to 0.3, even when whispered; that of white noise, in one
  frame, is exp(-0.577) = 0.56 in theory, however its level swings;
- its spectrum changes: over 100 ms the log spectra of speech correlate by 0.1 to 0.9, because voices glide and vowels
  change; tones, beeps and struck chords stay above 0.97, however their level swings.

The numbers were measured on espeak-ng voices, noises and synthetic music; the tests verify them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FRAME_MILLISECONDS = 20
"""The distance from one frame to the next."""

MIN_SWING_DECIBELS = 3.5
MIN_SPREAD_DECIBELS = 3.0
MAX_FLATNESS = 0.42
MAX_PERSISTENCE = 0.95
QUIETEST_DECIBELS = -60.0
"""Relative to full scale; quieter sound is not audible speech."""
AUDIBLE_RANGE_DECIBELS = 20.0
"""Below the loudest speech of the clip: includes vowels and most consonants, excludes breath and reverberation."""

_WINDOW_SECONDS = 0.032
_LOWEST_HZ, _HIGHEST_HZ = 150, 4000
_BLOCK_FRAMES = 100
_STEP_FRAMES = 50
_LAG_FRAMES = 5
_SYLLABLE_HZ = (2.0, 10.0)
_SWING_RANGE_DECIBELS = 30.0
"""Below a block's level; deeper pauses count as this deep."""
_LOUD_RANGE_DECIBELS = 15.0
"""Below a block's level; quieter frames say nothing about the spectrum of the loud ones."""
_TINY = 1e-12
_FRAMES_AT_ONCE = 2048

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Detection:
    """What was found in each frame of FRAME_MILLISECONDS; each array is (F,)."""

    in_speech: npt.NDArray[np.bool_]
    """Whether one of its blocks sounds like speech."""
    audible: npt.NDArray[np.bool_]
    """Whether it contains audible speech: it is in speech, and loud enough."""
    level: Floats
    """Between 150 and 4000 Hz, in decibels of full scale."""


def frame_count(samples: int, sample_rate_hz: int) -> int:
    """How many frames of FRAME_MILLISECONDS so many samples have: F."""
    hop, window = _hop_and_window(sample_rate_hz)
    return max(0, samples - window) // hop + 1


def audible_speech(samples: Floats, sample_rate_hz: int) -> npt.NDArray[np.bool_]:
    """(F,) bool: whether each frame of FRAME_MILLISECONDS contains audible speech. `samples`: (N,) float32."""
    return detect(samples, sample_rate_hz).audible


def detect(samples: Floats, sample_rate_hz: int) -> Detection:
    """`samples`: (N,) float32."""
    frames = _measure(samples, sample_rate_hz)
    count = len(frames.level)
    in_speech = np.zeros(count, dtype=bool)
    loudest = QUIETEST_DECIBELS
    for start in range(0, max(1, count - _STEP_FRAMES), _STEP_FRAMES):
        block = slice(start, min(start + _BLOCK_FRAMES, count))
        if _sounds_like_speech(frames, block):
            in_speech[block] = True
            loudest = max(loudest, float(np.percentile(frames.level[block], 95)))
    return Detection(
        in_speech=in_speech,
        audible=in_speech & (frames.level > max(loudest - AUDIBLE_RANGE_DECIBELS, QUIETEST_DECIBELS)),
        level=frames.level,
    )


@dataclass(frozen=True, slots=True)
class _Frames:
    level: Floats
    """Decibels of full scale, (F,)."""
    flatness: Floats
    """Geometric over arithmetic mean of the power spectrum, (F,)."""
    persistence: Floats
    """Correlation of the log spectrum with that _LAG_FRAMES earlier, (F,); 0 for the first frames."""


def _measure(samples: Floats, sample_rate_hz: int) -> _Frames:
    hop, window = _hop_and_window(sample_rate_hz)
    if len(samples) < window:
        samples = np.pad(samples, (0, window - len(samples)))
    view = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]
    taper = np.hanning(window).astype(np.float32)
    hertz = np.arange(window // 2 + 1) * sample_rate_hz / window
    band = slice(int(np.searchsorted(hertz, _LOWEST_HZ)), int(np.searchsorted(hertz, _HIGHEST_HZ, side="right")))
    # A full-scale sine measures -9 dB, as in the figures above.
    scale = np.float32(4 / window**2)
    parts: list[_Frames] = []
    before = np.zeros((_LAG_FRAMES, band.stop - band.start), dtype=np.float32)
    for start in range(0, len(view), _FRAMES_AT_ONCE):
        spectrum = np.fft.rfft(view[start : start + _FRAMES_AT_ONCE] * taper, axis=1)[:, band]
        power = (spectrum.real**2 + spectrum.imag**2) * scale
        total, logs = power.sum(axis=1), np.log(power + _TINY)
        means = logs.mean(axis=1)
        shape = logs - means[:, None]
        shape /= np.sqrt((shape**2).sum(axis=1, keepdims=True)) + _TINY
        shapes = np.concatenate([before, shape])
        parts.append(
            _Frames(
                level=10 * np.log10(total + _TINY),
                flatness=np.exp(means) / (total / power.shape[1] + _TINY),
                persistence=(shape * shapes[: len(shape)]).sum(axis=1),
            )
        )
        before = shapes[-_LAG_FRAMES:]
    return _Frames(*(np.concatenate([getattr(part, name) for part in parts]) for name in _Frames.__slots__))


def _hop_and_window(sample_rate_hz: int) -> tuple[int, int]:
    return sample_rate_hz * FRAME_MILLISECONDS // 1000, int(sample_rate_hz * _WINDOW_SECONDS) // 2 * 2


def _sounds_like_speech(frames: _Frames, block: slice) -> bool:
    level = frames.level[block]
    top = float(np.percentile(level, 95))
    if top < QUIETEST_DECIBELS or _swing(level, top) < MIN_SWING_DECIBELS:
        return False
    loud = level > top - _LOUD_RANGE_DECIBELS
    if float(level[loud].std()) < MIN_SPREAD_DECIBELS:
        return False
    if np.median(frames.flatness[block][loud]) > MAX_FLATNESS:
        return False
    lasting = loud.copy()
    lasting[:_LAG_FRAMES] = False
    lasting[_LAG_FRAMES:] &= loud[:-_LAG_FRAMES]
    return not lasting.any() or bool(np.median(frames.persistence[block][lasting]) <= MAX_PERSISTENCE)


def _swing(level: Floats, top: float) -> float:
    """The root mean square, in decibels, of the level's changes at the rate of syllables."""
    clipped = np.maximum(level, top - _SWING_RANGE_DECIBELS)
    taper = np.hanning(len(level))
    moves = np.abs(np.fft.rfft((clipped - clipped.mean()) * taper)) ** 2
    hertz = np.arange(len(moves)) * 1000 / FRAME_MILLISECONDS / len(level)
    at_syllables = (hertz >= _SYLLABLE_HZ[0]) & (hertz <= _SYLLABLE_HZ[1])
    return float(np.sqrt(2 * moves[at_syllables].sum() / max(float((taper**2).sum()), _TINY) / len(level)))
