"""Only declared conversions happen, and an error says what to declare."""

from __future__ import annotations

import pytest

from voxfleet_agent.audio.conversions import Resampler, plan_conversions
from voxfleet_agent.audio.header_facts import HeaderFacts
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import (
    Container,
    Conversions,
    Downmix,
    DownmixMode,
    Encoding,
    Resample,
    ResampleQuality,
)


def facts(rate_hz: int, channels: int) -> HeaderFacts:
    return HeaderFacts(Container.WAV, Encoding.PCM16, rate_hz, channels, 1000, rate_hz)


LINUX = Resampler("linux", soxr=True)
BOTH = Conversions(resample=Resample(to_hz=16_000), downmix=Downmix())


@pytest.mark.parametrize(
    ("clip", "declared", "attested"),
    [
        (facts(16_000, 1), Conversions(), ()),
        (facts(16_000, 1), BOTH, ()),
        (facts(22_050, 1), BOTH, ("resample:22050->16000:soxr_vhq",)),
        (facts(16_000, 2), BOTH, ("downmix:2->1:Mean",)),
        (
            facts(48_000, 6),
            Conversions(resample=Resample(to_hz=16_000, quality=ResampleQuality.SOXR_HQ), downmix=Downmix()),
            ("downmix:6->1:Mean", "resample:48000->16000:soxr_hq"),
        ),
        (
            facts(44_100, 1),
            Conversions(resample=Resample(to_hz=16_000, quality=ResampleQuality.FASTEST)),
            ("resample:44100->16000:linear",),
        ),
    ],
)
def test_declared_conversions_are_attested(clip: HeaderFacts, declared: Conversions, attested: tuple[str, ...]) -> None:
    assert plan_conversions(clip, declared, 16_000, LINUX).attested == attested


@pytest.mark.parametrize(
    ("clip", "declared", "says"),
    [
        (facts(22_050, 1), Conversions(), "declare conversions.resample: {toHz: 16000}"),
        (facts(16_000, 2), Conversions(), "declare conversions.downmix: {mode: Mean}"),
        (
            facts(48_000, 2),
            Conversions(),
            "declare conversions.downmix: {mode: Mean}; it also is at 48000 Hz and the model hears 16000 Hz; declare"
            " conversions.resample: {toHz: 16000}",
        ),
        (facts(16_000, 2), Conversions(resample=Resample(to_hz=16_000)), "declare conversions.downmix: {mode: Mean}"),
        (
            facts(16_000, 2),
            Conversions(downmix=Downmix(mode=DownmixMode.EQUAL_POWER)),
            "EqualPower, which does not work in this mlx-audio-io; write conversions.downmix: {mode: Mean}",
        ),
        (
            facts(44_100, 1),
            Conversions(resample=Resample(to_hz=16_000, quality=ResampleQuality.BEST)),
            "best, which is plain linear interpolation on this platform; write conversions.resample.quality: soxr_vhq",
        ),
        (facts(22_050, 1), Conversions(resample=Resample(to_hz=24_000)), "write conversions.resample.toHz: 16000"),
    ],
)
def test_undeclared_conversions_are_refused(clip: HeaderFacts, declared: Conversions, says: str) -> None:
    with pytest.raises(VoxFleetError) as caught:
        plan_conversions(clip, declared, 16_000, LINUX)
    assert caught.value.failure_class is FailureClass.CONTRACT_VIOLATION
    assert says in caught.value.message


@pytest.mark.parametrize("quality", list(ResampleQuality))
def test_each_quality_runs_as_named_or_is_refused(quality: ResampleQuality) -> None:
    soxr = quality in (ResampleQuality.SOXR_HQ, ResampleQuality.SOXR_VHQ)
    if soxr:
        assert Resampler("linux", soxr=True).runs(quality) == quality
        with pytest.raises(VoxFleetError, match="without soxr"):
            Resampler("linux", soxr=False).runs(quality)
        with pytest.raises(VoxFleetError, match="without soxr"):
            Resampler("darwin", soxr=False).runs(quality)
    elif quality is ResampleQuality.FASTEST:
        assert Resampler("linux", soxr=False).runs(quality) == "linear"
    else:
        with pytest.raises(VoxFleetError, match="soxr_vhq"):
            Resampler("linux", soxr=True).runs(quality)
    if not soxr:
        assert Resampler("darwin", soxr=True).runs(quality) == f"apple-{quality}"
