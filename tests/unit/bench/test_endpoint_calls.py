"""What a caller's stopwatch goes by."""

from __future__ import annotations

import numpy as np
import pytest
from tests.bench.endpoint_calls import AUDIBLE, Latencies, Utterance
from tests.bench.failure import MeasurementFailed


def _utterance(*samples: int) -> Utterance:
    return Utterance(np.array(samples, dtype="<i2").tobytes(), 16_000)


@pytest.mark.parametrize(
    ("samples", "voiced_bytes"),
    [
        ((0, 900, -900, 0, 0), 6),
        ((0, -32_768, 0), 4),
        ((0, AUDIBLE, 0), 6),
        ((900, 900), 4),
    ],
)
def test_speech_ends_with_its_last_audible_sample(samples: tuple[int, ...], voiced_bytes: int) -> None:
    assert _utterance(*samples).voiced_bytes == voiced_bytes


def test_frames_are_the_whole_utterance() -> None:
    utterance = Utterance(bytes(range(250)) * 40, 16_000)
    frames = utterance.frames(0.1)
    assert [len(frame) for frame in frames] == [3200, 3200, 3200, 400]
    assert b"".join(frames) == utterance.pcm


def test_percentiles_are_of_answers_alone() -> None:
    latencies = Latencies([3.5, 1.25, 2.0, 100.0], failed=["503"])
    assert (latencies.percent(50), latencies.percent(95)) == (2.0, 100.0)
    with pytest.raises(MeasurementFailed, match="503"):
        Latencies(failed=["503"]).percent(50)
