"""Where windows end."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.audio.windows import WindowRule
from voxfleet_api.kinds.contract_input import Windows

RATE_HZ = 1000


def rule(length: str = "10s", seek: str = "2s") -> WindowRule:
    return WindowRule.of(Windows(length=length, seek=seek), RATE_HZ)


def loud(frames: int, quiet_at: int | None = None) -> npt.NDArray[np.float32]:
    """A constant level, except for 40 quiet samples."""
    samples = np.ones(frames, np.float32)
    if quiet_at is not None:
        samples[quiet_at : quiet_at + 40] = 0.1
    return samples


def test_a_clip_that_fits_is_one_window() -> None:
    assert rule().end(loud(10_000)) == 10_000


def test_a_window_ends_in_the_quietest_moment_within_seek() -> None:
    end = rule().end(loud(11_000, quiet_at=8_500))
    assert 8_500 <= end < 8_540


def test_quiet_before_seek_does_not_count() -> None:
    samples = loud(11_000, quiet_at=4_000)
    assert 8_000 <= rule().end(samples) <= 10_000


def test_the_last_of_equally_quiet_moments_wins() -> None:
    assert rule().end(np.zeros(11_000, np.float32)) == 9_990


def test_the_last_window_keeps_a_second() -> None:
    end = rule().end(loud(10_001))
    assert end <= 9_001


def test_without_room_to_seek_a_window_ends_at_its_length() -> None:
    assert rule(seek="10ms").end(loud(20_000)) == 10_000


@pytest.mark.parametrize("rate_hz", [4000, 11_025, 384_000])
def test_a_contract_is_counted_in_samples(rate_hz: int) -> None:
    counted = WindowRule.of(Windows(length="60s", seek="5s"), rate_hz)
    assert (counted.length_frames, counted.seek_frames, counted.rest_frames) == (60 * rate_hz, 5 * rate_hz, rate_hz)
    assert counted.ahead_frames == 61 * rate_hz


@given(
    length=st.integers(1, 300),
    seek=st.integers(0, 299),
    levels=st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0]), min_size=1, max_size=60),
)
def test_every_sample_lies_in_one_window_of_a_fitting_length(length: int, seek: int, levels: list[float]) -> None:
    seek = min(seek, length - 1)
    cut = rule(f"{length}ms", f"{seek}ms")
    rest = np.repeat(np.array(levels, np.float32), 37)
    while len(rest) > 0:
        known = rest[: cut.ahead_frames]
        end = cut.end(known)
        assert 0 < end <= length
        if len(rest) > length:
            assert end >= length - seek
            assert len(rest) - end >= cut.rest_frames
        rest = rest[end:]
