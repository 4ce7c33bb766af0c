"""The memory that decoding takes, computed from the contract."""

from __future__ import annotations

from voxfleet_agent.audio.decode_memory import working_set_bytes
from voxfleet_api.kinds.contract_input import Container, ContractInput, Conversions, Resample, Windows
from voxfleet_api.kinds.voice_contract import VoiceContractSpec


def contract(rates_hz: tuple[int, ...], max_clip: str, conversions: Conversions) -> VoiceContractSpec:
    return VoiceContractSpec(
        input=ContractInput(containers=(Container.WAV,), sample_rates_hz=rates_hz, channels=(1, 2), max_clip=max_clip),
        conversions=conversions,
    )


def test_the_longest_clip_at_the_highest_rate_counts() -> None:
    spec = contract((16_000, 48_000), "10m", Conversions(resample=Resample(to_hz=16_000)))
    frames = 601 * 48_000
    assert working_set_bytes(spec) == 48 * 2**20 + 4 * frames + 12 * (frames + frames // 3)


def test_nothing_is_resampled_at_the_models_own_rate() -> None:
    spec = contract((16_000,), "10m", Conversions(resample=Resample(to_hz=16_000)))
    assert working_set_bytes(spec) == 48 * 2**20 + 4 * 601 * 16_000


def test_windows_bound_the_memory_whatever_the_clip() -> None:
    windows = Conversions(resample=Resample(to_hz=16_000), windows=Windows(length="60s"))
    hour = working_set_bytes(contract((48_000,), "1h", windows))
    assert hour == working_set_bytes(contract((48_000,), "10h", windows))
    assert hour < working_set_bytes(contract((48_000,), "1h", Conversions(resample=Resample(to_hz=16_000)))) / 10
