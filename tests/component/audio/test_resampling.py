"""The measured quality of each name: how much of a tone above the new band is aliased into it."""

from __future__ import annotations

import sys

import mlx_audio_io  # type: ignore[import-untyped] # it ships no types
import numpy as np
import pytest
from tests.component.audio.audio_rig import tone

from voxfleet_agent.audio.decode import this_resampler
from voxfleet_api.failures import VoxFleetError
from voxfleet_api.kinds.contract_input import ResampleQuality

SOXR = (ResampleQuality.SOXR_HQ, ResampleQuality.SOXR_VHQ)


def aliasing_decibels(quality: ResampleQuality) -> float:
    """The level of a 15 kHz tone after resampling from 44.1 to 16 kHz: beyond the new band, so none should remain."""
    before = tone(44_100, 44_100, 15_000.0)[:, 0]
    after = np.asarray(mlx_audio_io.resample(before, 44_100, 16_000, quality=quality.value)).reshape(-1)
    inner = after[1_000:-1_000].astype(np.float64)  # a resampler may ring at the ends
    return float(20 * np.log10(np.sqrt(np.mean(inner**2)) / np.sqrt(np.mean(before.astype(np.float64) ** 2)) + 1e-12))


@pytest.mark.parametrize("quality", SOXR)
def test_soxr_is_soxr(quality: ResampleQuality) -> None:
    assert this_resampler().runs(quality) == quality
    assert aliasing_decibels(quality) < -100


@pytest.mark.skipif(sys.platform == "darwin", reason="Apple's converter runs there; its qualities are not measured")
@pytest.mark.parametrize("quality", [quality for quality in ResampleQuality if quality not in SOXR])
def test_every_other_name_is_linear_here_and_only_fastest_says_so(quality: ResampleQuality) -> None:
    assert aliasing_decibels(quality) > -10
    if quality is ResampleQuality.FASTEST:
        assert this_resampler().runs(quality) == "linear"
    else:
        with pytest.raises(VoxFleetError, match="soxr_vhq"):
            this_resampler().runs(quality)
