"""Which declared conversions bring a clip to the model's input format. Undeclared conversions never happen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from voxfleet_agent.audio.header_facts import HeaderFacts, refused, told_together
from voxfleet_api.failures import VoxFleetError
from voxfleet_api.kinds.contract_input import Conversions, Downmix, DownmixMode, Resample, ResampleQuality


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """The steps, in the order in which they run."""

    downmix: Downmix | None
    resample: Resample | None
    attested: tuple[str, ...]


def plan_conversions(
    facts: HeaderFacts, declared: Conversions, model_rate_hz: int, resampler: Resampler
) -> ConversionPlan:
    """Plans the steps from the clip to one channel at the model's rate.

    Raises VoxFleetError(CONTRACT_VIOLATION) with a message that says what to declare.
    """
    refusals = [*_downmix_refusals(facts, declared), *_resample_refusals(facts, declared, model_rate_hz, resampler)]
    if refusals:
        raise refused(told_together(refusals))
    downmix = declared.downmix if facts.channels != 1 else None
    resample = declared.resample if facts.sample_rate_hz != model_rate_hz else None
    attested: list[str] = []
    if downmix is not None:
        attested.append(f"downmix:{facts.channels}->1:{downmix.mode}")
    if resample is not None:
        attested.append(f"resample:{facts.sample_rate_hz}->{model_rate_hz}:{resampler.runs(resample.quality)}")
    return ConversionPlan(downmix, resample, tuple(attested))


def _downmix_refusals(facts: HeaderFacts, declared: Conversions) -> Iterator[str]:
    if facts.channels == 1:
        return
    if declared.downmix is None:
        yield f"has {facts.channels} channels and the model hears one; declare conversions.downmix: {{mode: Mean}}"
    elif declared.downmix.mode is not DownmixMode.MEAN:
        yield (
            f"would be mixed down with {declared.downmix.mode}, which does not work in this mlx-audio-io;"
            " write conversions.downmix: {mode: Mean}"
        )


def _resample_refusals(
    facts: HeaderFacts, declared: Conversions, model_rate_hz: int, resampler: Resampler
) -> Iterator[str]:
    resample = declared.resample
    if facts.sample_rate_hz == model_rate_hz:
        return
    if resample is None:
        yield (
            f"is at {facts.sample_rate_hz} Hz and the model hears {model_rate_hz} Hz;"
            f" declare conversions.resample: {{toHz: {model_rate_hz}}}"
        )
    elif resample.to_hz != model_rate_hz:
        yield (
            f"would be resampled to {resample.to_hz} Hz and the model hears {model_rate_hz} Hz;"
            f" write conversions.resample.toHz: {model_rate_hz}"
        )
    else:
        try:
            resampler.runs(resample.quality)
        except VoxFleetError as error:
            yield error.message


_SOXR = (ResampleQuality.SOXR_HQ, ResampleQuality.SOXR_VHQ)
_LINEAR = "linear"


@dataclass(frozen=True, slots=True)
class Resampler:
    """The resamplers of this machine."""

    platform: str
    """The value of sys.platform."""
    soxr: bool
    """Whether mlx-audio-io was built with soxr."""

    def runs(self, quality: ResampleQuality) -> str:
        """The algorithm that runs for this quality on this machine, as result rows attest it.

        Raises VoxFleetError(CONTRACT_VIOLATION) when that algorithm is worse than the name promises.
        """
        if quality in _SOXR:
            if not self.soxr:
                raise refused(
                    f"would be resampled with {quality}, and this machine's mlx-audio-io was built without soxr;"
                    " install libsoxr and build mlx-audio-io again"
                )
            return quality.value
        if self.platform == "darwin":
            return f"apple-{quality}"
        if quality is ResampleQuality.FASTEST:
            return _LINEAR
        raise refused(
            f"would be resampled with {quality}, which is plain linear interpolation on this platform;"
            " write conversions.resample.quality: soxr_vhq, or fastest to accept linear interpolation"
        )
