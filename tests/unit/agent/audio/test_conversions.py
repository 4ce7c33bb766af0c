"""Only declared conversions happen, and a refusal says what to declare."""

from __future__ import annotations

import pytest

from voxfleet_agent.audio.conversions import plan_conversions
from voxfleet_agent.audio.facts import HeaderFacts
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.voice_contract import Container, Conversions, Downmix, Resample, ResampleQuality


def facts(rate_hz: int, channels: int) -> HeaderFacts:
    return HeaderFacts(Container.WAV, "pcm16", rate_hz, channels, 1000, rate_hz)


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
    ],
)
def test_declared_conversions_are_attested(clip: HeaderFacts, declared: Conversions, attested: tuple[str, ...]) -> None:
    assert plan_conversions(clip, declared, 16_000).attested == attested


@pytest.mark.parametrize(
    ("clip", "declared", "says"),
    [
        (facts(22_050, 1), Conversions(), "declare conversions.resample: {toHz: 16000}"),
        (facts(16_000, 2), Conversions(), "declare conversions.downmix: {mode: Mean}"),
        (facts(16_000, 2), Conversions(resample=Resample(to_hz=16_000)), "declare conversions.downmix: {mode: Mean}"),
        (facts(22_050, 1), Conversions(resample=Resample(to_hz=24_000)), "write conversions.resample.toHz: 16000"),
    ],
)
def test_undeclared_conversions_are_refused(clip: HeaderFacts, declared: Conversions, says: str) -> None:
    with pytest.raises(VoxFleetError) as caught:
        plan_conversions(clip, declared, 16_000)
    assert caught.value.failure_class is FailureClass.CONTRACT_VIOLATION
    assert says in caught.value.message
