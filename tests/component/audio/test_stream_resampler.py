"""Resampled piece by piece, audio becomes what the batch path makes of the whole."""

from __future__ import annotations

import mlx_audio_io  # type: ignore[import-untyped] # it ships no types
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.component.audio.audio_rig import Samples, noise, tone

from voxfleet_agent.audio.stream_resampler import StreamResampler
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import ResampleQuality

TOLERANCE = 1e-4
QUALITIES = (ResampleQuality.SOXR_HQ, ResampleQuality.SOXR_VHQ)


def whole(samples: Samples, from_hz: int, to_hz: int, quality: str) -> Samples:
    return np.asarray(mlx_audio_io.resample(samples, from_hz, to_hz, quality=quality), np.float32).reshape(-1)


def streamed(samples: Samples, from_hz: int, to_hz: int, quality: str, cuts: list[int]) -> Samples:
    resampler = StreamResampler(from_hz, to_hz, quality)
    pieces = [resampler.process(piece) for piece in np.split(samples, sorted(cuts))]
    return np.concatenate([*pieces, resampler.finish()])


def assert_equal(samples: Samples, from_hz: int, to_hz: int, quality: str, cuts: list[int]) -> None:
    expected, actual = whole(samples, from_hz, to_hz, quality), streamed(samples, from_hz, to_hz, quality, cuts)
    assert actual.dtype == np.float32 and actual.shape == expected.shape
    assert np.abs(actual - expected).max(initial=0.0) <= TOLERANCE


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize(
    ("from_hz", "to_hz"),
    [(24_000, 16_000), (48_000, 16_000), (44_100, 16_000), (8_000, 16_000), (11_025, 16_000), (16_000, 24_000)],
)
@pytest.mark.parametrize("frame_milliseconds", [1, 10, 1000])
def test_a_stream_is_resampled_like_a_file(from_hz: int, to_hz: int, quality: str, frame_milliseconds: int) -> None:
    samples = noise(3 * from_hz + 17)[:, 0]
    assert_equal(samples, from_hz, to_hz, quality, list(range(0, len(samples), from_hz * frame_milliseconds // 1000)))


@settings(max_examples=30)
@given(
    st.integers(0, 6_000),
    st.lists(st.integers(0, 6_000), max_size=12),
    st.sampled_from([8_000, 22_050, 24_000, 44_100, 48_000]),
    st.sampled_from(QUALITIES),
)
def test_where_a_stream_is_cut_does_not_matter(frames: int, cuts: list[int], from_hz: int, quality: str) -> None:
    assert_equal(noise(frames)[:, 0], from_hz, 16_000, quality, [min(cut, frames) for cut in cuts])


@pytest.mark.parametrize("quality", QUALITIES)
def test_what_is_beyond_the_new_band_is_filtered_out(quality: str) -> None:
    """A tone of 11 kHz, where linear interpolation leaves one of 5 kHz."""
    resampled = streamed(tone(24_000, 24_000, 11_000.0)[:, 0], 24_000, 16_000, quality, list(range(0, 24_000, 480)))
    inner = resampled[1_000:-1_000].astype(np.float64)
    assert 20 * np.log10(np.sqrt(np.mean(inner**2)) + 1e-12) < -90


def test_audio_leaves_within_a_tenth_of_a_second() -> None:
    resampler = StreamResampler(24_000, 16_000, ResampleQuality.SOXR_VHQ)
    heard = 0
    for begun in range(0, 24_000, 480):
        heard += len(resampler.process(noise(480)[:, 0]))
        assert (begun + 480) * 2 / 3 - heard <= 1_600


@pytest.mark.parametrize("quality", [quality for quality in ResampleQuality if quality not in QUALITIES])
def test_a_quality_that_no_stream_has_is_refused(quality: ResampleQuality) -> None:
    with pytest.raises(VoxFleetError, match=f"{quality}, .* write conversions.resample.quality: soxr_vhq") as refusal:
        StreamResampler(24_000, 16_000, quality)
    assert refusal.value.failure_class is FailureClass.CONTRACT_VIOLATION


def test_nothing_follows_the_end() -> None:
    resampler = StreamResampler(24_000, 16_000, "soxr_hq")
    resampler.finish()
    with pytest.raises(ValueError, match="finished"):
        resampler.process(noise(1)[:, 0])
    with pytest.raises(ValueError, match="finished"):
        resampler.finish()
