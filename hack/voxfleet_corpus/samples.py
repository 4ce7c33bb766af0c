"""Valid wav files with odd samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from voxfleet_api.failures import FailureClass
from voxfleet_corpus.case import Case, good, poison
from voxfleet_corpus.sounds import RATE_HZ, TEXT, Sounds
from voxfleet_corpus.wav import FLOAT, chunk, fmt, riff

_DECODE = FailureClass.DECODE_ERROR


def _floats(samples: npt.NDArray[np.float32], channels: int = 1) -> bytes:
    return riff(fmt(FLOAT, channels, bits=32), chunk(b"data", samples.astype("<f4").tobytes()))


def cases(sounds: Sounds) -> Iterator[Case]:
    speech = sounds.floats

    def with_one(value: float) -> bytes:
        odd = speech.copy()
        odd[len(odd) // 2] = value
        return _floats(odd)

    yield poison("samples-one-nan", "nan.wav", with_one(float("nan")), _DECODE, "one sample is not a number")
    yield poison("samples-all-nan", "nans.wav", _floats(np.full_like(speech, np.nan)), _DECODE, "all are not")
    yield poison("samples-infinite", "inf.wav", with_one(float("-inf")), _DECODE, "one sample is infinite")
    yield poison("samples-1e30", "1e30.wav", with_one(1e30), _DECODE, "one sample is 1e30")
    yield poison(
        "samples-loud", "loud.wav", _floats(speech * (18 / np.abs(speech).max())), _DECODE, "18 times full scale"
    )
    second = np.full(RATE_HZ, 1, dtype=np.float32)
    yield good("samples-silence", "silence.wav", _floats(second * 0), "nobody speaks: an empty transcript is whole", "")
    yield good(
        "samples-denormal", "denormal.wav", _floats(second * np.float32(1e-40)), "smaller than any normal float", ""
    )
    yield good("samples-dc", "dc.wav", _floats(second * np.float32(0.5)), "a constant is no speech", "")
    yield good("samples-offset", "offset.wav", _floats(speech + np.float32(0.2)), "speech on a constant")
    yield good("samples-clipped", "clipped.wav", _floats(np.clip(speech * 4, -1, 1)), "speech cut off at full scale")
    yield good("samples-over", "over.wav", _floats(speech * (2 / np.abs(speech).max())), "6 dB over full scale")
    opposed = np.stack([speech, -speech], axis=1)
    yield poison(
        "samples-opposed",
        "opposed.wav",
        _floats(opposed, 2),
        FailureClass.CONTRACT_VIOLATION,
        "the declared downmix cancels both channels",
    )
    yield good(
        "samples-left-only", "left.wav", _floats(np.stack([speech, speech * 0], axis=1), 2), "one channel silent", TEXT
    )
