"""What is made of recordings: other rates, channels, noise, gaps, joined files. Pure; the same seed, the same samples.

Samples are float32 (N,), mono, within -1 and 1.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
import numpy.typing as npt
from scipy.signal import butter, resample_poly, sosfiltfilt  # type: ignore[import-untyped] # it ships no types

Samples = npt.NDArray[np.float32]

TELEPHONE_HZ = (300, 3400)
_TELEPHONE_RATE_HZ = 8_000
_FRAME_SECONDS = 0.02
_AUDIBLE_SHARE = 0.1
"""A frame is heard when its level is at least this share of the loudest frame's (-20 dB)."""
_LEVEL_FRAME = 320
_PEAK = 0.95


def samples_of(frames: bytes) -> Samples:
    """Of 16-bit frames of one channel."""
    return np.asarray(np.frombuffer(frames, dtype="<i2"), dtype=np.float32) * np.float32(1 / 32_768)


def resampled(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    if from_hz == to_hz:
        return samples
    common = gcd(from_hz, to_hz)
    return np.asarray(resample_poly(samples, to_hz // common, from_hz // common), dtype=np.float32)


def telephone(samples: Samples, rate_hz: int) -> Samples:
    """At 8 kHz, with what a telephone lets through."""
    narrow = resampled(samples, rate_hz, _TELEPHONE_RATE_HZ)
    sections = butter(4, TELEPHONE_HZ, btype="bandpass", fs=_TELEPHONE_RATE_HZ, output="sos")
    return np.asarray(sosfiltfilt(sections, narrow), dtype=np.float32)


def white_noise(count: int, seed: int) -> Samples:
    """With a level (root mean square) of 1."""
    return np.random.default_rng(seed).standard_normal(count, dtype=np.float32)


def level(samples: Samples) -> float:
    """The root mean square of the frames that are heard; 0 for none."""
    heard = _heard_frames(samples, min(_LEVEL_FRAME, max(1, len(samples))))
    return float(np.sqrt(np.mean(np.square(heard, dtype=np.float64)))) if heard.size else 0.0


def mixed(speech: Samples, noise: Samples, snr_db: float) -> Samples:
    """Adds noise, repeated where it is shorter, so many decibels below the level of the audible speech.

    A sum beyond full scale is made quieter as a whole.
    """
    repeated = np.resize(noise, len(speech))
    wanted = level(speech) / 10 ** (snr_db / 20)
    present = float(np.sqrt(np.mean(np.square(repeated, dtype=np.float64))))
    added = speech + repeated * np.float32(wanted / present)
    return _within_full_scale(np.asarray(added, dtype=np.float32))


def with_gap(samples: Samples, rate_hz: int, seconds: float) -> Samples:
    """With so much silence at the quietest moment of the middle third."""
    middle = quietest_middle(samples, rate_hz)
    return np.concatenate([samples[:middle], np.zeros(round(seconds * rate_hz), dtype=np.float32), samples[middle:]])


def quietest_middle(samples: Samples, rate_hz: int) -> int:
    """The sample in the middle of the quietest 0.2 s of the middle third."""
    frame = max(1, round(_FRAME_SECONDS * 10 * rate_hz))
    first, last = len(samples) // 3, 2 * len(samples) // 3
    starts = range(first, max(first + 1, last - frame), max(1, frame // 10))
    energies = [float(np.sum(np.square(samples[start : start + frame], dtype=np.float64))) for start in starts]
    return starts[int(np.argmin(energies))] + frame // 2


@dataclass(frozen=True, slots=True)
class SpokenPart:
    """A text within a longer recording, and when it is audible there."""

    text: str
    start_seconds: float
    end_seconds: float


def joined(
    parts: Sequence[tuple[str, Samples]], rate_hz: int, seconds: float, seed: int
) -> tuple[Samples, tuple[SpokenPart, ...]]:
    """Joins (text, samples) in an order of the seed's, with pauses, until the next would pass `seconds`.

    Returns the samples and where each text is heard. Pauses are 0.3 to 1.2 s; fewer seconds come out when parts end.
    """
    random = np.random.default_rng(seed)
    pieces: list[Samples] = []
    spoken: list[SpokenPart] = []
    position = 0
    for index in random.permutation(len(parts)):
        text, samples = parts[index]
        pause = np.zeros(round(float(random.uniform(0.3, 1.2)) * rate_hz), dtype=np.float32)
        if position + len(pause) + len(samples) > seconds * rate_hz:
            continue
        first, last = heard_span(samples, rate_hz)
        begins = position + len(pause)
        spoken.append(SpokenPart(text, (begins + first) / rate_hz, (begins + last) / rate_hz))
        pieces += [pause, samples]
        position = begins + len(samples)
    return np.concatenate([*pieces, np.zeros(0, dtype=np.float32)]), tuple(spoken)


def heard_span(samples: Samples, rate_hz: int) -> tuple[int, int]:
    """The samples from the first to behind the last frame that is heard; (0, N) for silence."""
    frame = max(1, round(_FRAME_SECONDS * rate_hz))
    audible = np.flatnonzero(_audible(samples, frame))
    if not len(audible):
        return 0, len(samples)
    return int(audible[0]) * frame, min(len(samples), (int(audible[-1]) + 1) * frame)


def _audible(samples: Samples, frame: int) -> npt.NDArray[np.bool_]:
    count = len(samples) // frame
    if count == 0:
        return np.zeros(0, dtype=bool)
    frames = samples[: count * frame].reshape(count, frame)
    levels = np.sqrt(np.mean(np.square(frames, dtype=np.float64), axis=1))
    loudest = float(levels.max())
    return levels >= _AUDIBLE_SHARE * loudest if loudest > 0 else np.zeros(count, dtype=bool)


def _heard_frames(samples: Samples, frame: int) -> Samples:
    audible = _audible(samples, frame)
    return samples[: len(audible) * frame].reshape(-1, frame)[audible] if len(audible) else samples[:0]


def _within_full_scale(samples: Samples) -> Samples:
    peak = float(np.max(np.abs(samples), initial=0.0))
    return samples * np.float32(_PEAK / peak) if peak > _PEAK else samples


def wav(samples: Samples, rate_hz: int, channels: int = 1) -> bytes:
    """A 16-bit wav file; every channel is the same."""
    numbers = np.clip(np.rint(samples * 32_768), -32_768, 32_767).astype("<i2")
    content = io.BytesIO()
    with wave.open(content, "wb") as opened:
        opened.setnchannels(channels)
        opened.setsampwidth(2)
        opened.setframerate(rate_hz)
        opened.writeframes(np.repeat(numbers, channels).tobytes())
    return content.getvalue()
