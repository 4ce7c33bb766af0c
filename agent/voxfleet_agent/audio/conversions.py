"""Which declared conversions bring a clip to what the model hears. What is not declared does not happen."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_agent.audio.facts import HeaderFacts, refused
from voxfleet_agent.audio.qualities import Resampler
from voxfleet_api.kinds.contract_input import Conversions, Downmix, DownmixMode, Resample


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """Steps in the order they run."""

    downmix: Downmix | None
    resample: Resample | None
    attested: tuple[str, ...]


def plan_conversions(
    facts: HeaderFacts, declared: Conversions, model_rate_hz: int, resampler: Resampler
) -> ConversionPlan:
    """The steps from the clip to one channel at the model's rate.

    Raises VoxFleetError(CONTRACT_VIOLATION) saying what to declare.
    """
    downmix: Downmix | None = None
    resample: Resample | None = None
    attested: list[str] = []
    if facts.channels != 1:
        downmix = declared.downmix
        if downmix is None:
            raise refused(
                f"has {facts.channels} channels and the model hears one; declare conversions.downmix: {{mode: Mean}}"
            )
        if downmix.mode is not DownmixMode.MEAN:
            raise refused(
                f"would be mixed down with {downmix.mode}, which does not work in this mlx-audio-io;"
                " write conversions.downmix: {mode: Mean}"
            )
        attested.append(f"downmix:{facts.channels}->1:{downmix.mode}")
    if facts.sample_rate_hz != model_rate_hz:
        resample = declared.resample
        if resample is None:
            raise refused(
                f"is at {facts.sample_rate_hz} Hz and the model hears {model_rate_hz} Hz;"
                f" declare conversions.resample: {{toHz: {model_rate_hz}}}"
            )
        if resample.to_hz != model_rate_hz:
            raise refused(
                f"would be resampled to {resample.to_hz} Hz and the model hears {model_rate_hz} Hz;"
                f" write conversions.resample.toHz: {model_rate_hz}"
            )
        attested.append(f"resample:{facts.sample_rate_hz}->{model_rate_hz}:{resampler.runs(resample.quality)}")
    return ConversionPlan(downmix, resample, tuple(attested))
