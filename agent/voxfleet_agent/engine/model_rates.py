"""The sample rate that a model hears or speaks at, as far as its config.json tells. Pure: no MLX."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from voxfleet_agent.engine.transcription_families import TRANSCRIPTION_FAMILIES
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

_ASSUMED_HZ = 16_000
"""What mlx-audio assumes of a family that states no rate."""
_HEARD = (
    ("preprocessor", "sample_rate"),
    ("preprocessor_config", "sample_rate"),
    ("frontend_conf", "fs"),
    ("sample_rate",),
)
"""Where configs state what a model hears; the first that a config has counts."""
_SPOKEN = {
    "dia": ("model", "sample_rate"),
    "longcat_audiodit": ("sampling_rate",),
    "pocket_tts": ("mimi", "sample_rate"),
} | dict.fromkeys(
    ("breeze_tts", "fish_qwen3_omni", "kitten_tts", "kokoro", "llama", "omnivoice", "qwen3", "qwen3_tts", "tada"),
    ("sample_rate",),
)
"""Where a family's config states what it speaks at, after the source of the pinned mlx-audio; others do not."""


def heard_rate_hz(family: str, config: Mapping[str, object]) -> int | None:
    """The input rate of a model that transcribes; None: unknown before it is loaded."""
    if family not in TRANSCRIPTION_FAMILIES:
        return None
    return next((rate for path in _HEARD if (rate := _rate(config, *path)) is not None), _ASSUMED_HZ)


def spoken_rate_hz(family: str, config: Mapping[str, object]) -> int | None:
    """The output rate of a model that synthesizes; None: unknown before it is loaded."""
    return _rate(config, *_SPOKEN[family]) if family in _SPOKEN else None


def heard_rate_problems(contract: VoiceContractSpec, rate_hz: int) -> Iterator[str]:
    """What of the contract keeps clips from reaching a model that hears `rate_hz`."""
    accepted, resample = contract.input.sample_rates_hz, contract.conversions.resample
    if resample is not None and resample.to_hz != rate_hz and any(rate != rate_hz for rate in accepted):
        yield (
            f"the contract's conversions.resample.toHz is {resample.to_hz} and the model hears {rate_hz} Hz; write"
            f" {rate_hz} there, or take another model"
        )
    elif resample is None and rate_hz not in accepted:
        listed = ", ".join(map(str, accepted))
        yield (
            f"the contract accepts {listed} Hz and converts no rate, and the model hears {rate_hz} Hz; declare"
            f" conversions.resample: {{toHz: {rate_hz}}}, or take another model"
        )


def spoken_rate_problems(contract: VoiceContractSpec, rate_hz: int) -> Iterator[str]:
    """What of the contract forbids the files of a model that speaks at `rate_hz`."""
    declared_hz = contract.output.audio.sample_rate_hz
    if declared_hz != rate_hz:
        yield (
            f"the contract's output.audio.sampleRateHz is {declared_hz} and the model speaks at {rate_hz} Hz; write"
            f" {rate_hz} there, or take another model"
        )


def _rate(config: Mapping[str, object], *path: str) -> int | None:
    value: object = config
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
