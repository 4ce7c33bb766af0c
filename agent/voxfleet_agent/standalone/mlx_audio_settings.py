"""TMPDIR and the MLX_AUDIO_ variables, which a runbook can grep: their values, and whether the contract agrees. Pure.

A variable that is set is the default where the contract is silent. Where both state a value, the values must agree.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from voxfleet_agent.config import AgentConfig
from voxfleet_agent.mlx_audio_names import BATCH_SIZE, MAX_RETRIES, QUARANTINE, SAMPLE_RATE, TMPDIR
from voxfleet_api.kinds.contract_limits import Retries
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

DEFAULT_SAMPLE_RATE_HZ = 16_000
DEFAULT_BATCH_SIZE = 4
_RANGES = {SAMPLE_RATE: (4000, 384_000), BATCH_SIZE: (1, 8), MAX_RETRIES: (0, 10)}


class SettingsConflict(Exception):
    """A variable has an unusable value, or contradicts the contract; the message names both."""


@dataclass(frozen=True, slots=True)
class MlxAudioSettings:
    """The settings of one run."""

    scratch: Path
    sample_rate_hz: int
    batch_size: int
    """The batch size until a ladder is measured."""
    max_retries: int
    quarantine: Path

    def variables(self) -> dict[str, str]:
        return {
            TMPDIR: str(self.scratch),
            SAMPLE_RATE: str(self.sample_rate_hz),
            BATCH_SIZE: str(self.batch_size),
            MAX_RETRIES: str(self.max_retries),
            QUARANTINE: str(self.quarantine),
        }

    def settings(self) -> dict[str, str]:
        """Returns the variables that change what a run does; the others only name folders."""
        return {name: value for name, value in self.variables().items() if name not in (TMPDIR, QUARANTINE)}

    def export_lines(self) -> list[str]:
        """Returns one line per variable for a shell to evaluate."""
        return [f"export {name}={shlex.quote(value)}" for name, value in self.variables().items()]


def settle_settings(
    environment: Mapping[str, str], home: Path, contract: VoiceContractSpec | None = None, task: Task = Task.TRANSCRIBE
) -> MlxAudioSettings:
    """Settles each setting from the environment, then the contract, then the defaults.

    Raises SettingsConflict with every conflict.
    """
    problems: list[str] = []
    rate_hz, batch_size, max_retries = (_integer(environment, name, problems) for name in _RANGES)
    scratch = _folder(environment, TMPDIR, home / "Scratch" / "mlx-audio-wav", problems)
    quarantine = _folder(environment, QUARANTINE, scratch / "quarantine", problems)
    if contract is not None and not problems:
        conflicts = (
            _rate_conflict(rate_hz, contract, task),
            _batch_conflict(batch_size, contract),
            _retries_conflict(max_retries, contract),
        )
        problems += [conflict for conflict in conflicts if conflict is not None]
    if problems:
        raise SettingsConflict("\n".join(problems))
    return MlxAudioSettings(
        scratch=scratch,
        sample_rate_hz=rate_hz if rate_hz is not None else _default_rate_hz(contract, task),
        batch_size=batch_size if batch_size is not None else _default_batch_size(contract),
        max_retries=max_retries if max_retries is not None else _default_max_retries(contract),
        quarantine=quarantine,
    )


def settings_of_agent(
    config: AgentConfig, quarantine: Path, contract: VoiceContractSpec | None, task: Task = Task.TRANSCRIBE
) -> MlxAudioSettings:
    """Returns the settings of an agent with this configuration, which reads no environment."""
    return MlxAudioSettings(
        scratch=config.scratch.path,
        sample_rate_hz=_default_rate_hz(contract, task),
        batch_size=next(pool.batch_size for pool in (*config.offline_pools, *config.pools)),
        max_retries=_default_max_retries(contract),
        quarantine=quarantine,
    )


def with_defaults(contract: VoiceContractSpec, settings: MlxAudioSettings) -> VoiceContractSpec:
    """Returns the contract, with what it leaves open filled in from the settings."""
    if contract.retries.max_retries == settings.max_retries:
        return contract
    retries = contract.retries.model_copy(update={"max_retries": settings.max_retries})
    return contract.model_copy(update={"retries": retries})


def _integer(environment: Mapping[str, str], name: str, problems: list[str]) -> int | None:
    text = environment.get(name, "").strip()
    if not text:
        return None
    low, high = _RANGES[name]
    if text.isascii() and text.isdecimal() and len(text) < 10 and low <= int(text) <= high:
        return int(text)
    problems.append(f"{name}={text}: write a whole number from {low} to {high}, or unset it")
    return None


def _folder(environment: Mapping[str, str], name: str, default: Path, problems: list[str]) -> Path:
    text = environment.get(name, "")
    if text and not Path(text).is_absolute():
        problems.append(f"{name}={text}: write an absolute path, or unset it")
    return Path(text) if text else default


def _rate_conflict(rate_hz: int | None, contract: VoiceContractSpec, task: Task) -> str | None:
    if rate_hz is None:
        return None
    resample = contract.conversions.resample
    if task is Task.SYNTHESIZE:
        written = contract.output.audio.sample_rate_hz
        return None if rate_hz == written else _conflict(SAMPLE_RATE, rate_hz, "output.audio.sampleRateHz", written)
    if resample is not None:
        field = "conversions.resample.toHz"
        return None if rate_hz == resample.to_hz else _conflict(SAMPLE_RATE, rate_hz, field, resample.to_hz)
    rates = contract.input.sample_rates_hz
    if rate_hz in rates:
        return None
    return _conflict(SAMPLE_RATE, rate_hz, "input.sampleRatesHz", f"{list(rates)} without conversions.resample")


def _batch_conflict(batch_size: int | None, contract: VoiceContractSpec) -> str | None:
    ladder = contract.batching.ladder
    if batch_size is None or ladder is None or ladder.from_ <= batch_size <= ladder.to:
        return None
    return _conflict(BATCH_SIZE, batch_size, "batching.ladder", f"{ladder.from_} to {ladder.to}")


def _retries_conflict(max_retries: int | None, contract: VoiceContractSpec) -> str | None:
    if max_retries is None or not _states_retries(contract) or contract.retries.max_retries == max_retries:
        return None
    return _conflict(MAX_RETRIES, max_retries, "retries.maxRetries", contract.retries.max_retries)


def _conflict(name: str, value: int, field: str, written: object) -> str:
    return (
        f"{name}={value} in the environment and spec.{field} ({written}) in the contract do not agree; unset {name}, or"
        " change the contract"
    )


def _states_retries(contract: VoiceContractSpec) -> bool:
    """Whether the contract itself states maxRetries; the API's default is not its author's choice."""
    return "retries" in contract.model_fields_set and "max_retries" in contract.retries.model_fields_set


def _default_rate_hz(contract: VoiceContractSpec | None, task: Task) -> int:
    if contract is None:
        return DEFAULT_SAMPLE_RATE_HZ
    if task is Task.SYNTHESIZE:
        return contract.output.audio.sample_rate_hz
    if contract.conversions.resample is not None:
        return contract.conversions.resample.to_hz
    rates = contract.input.sample_rates_hz
    return DEFAULT_SAMPLE_RATE_HZ if DEFAULT_SAMPLE_RATE_HZ in rates else rates[0]


def _default_batch_size(contract: VoiceContractSpec | None) -> int:
    ladder = contract.batching.ladder if contract is not None else None
    if ladder is None:
        return DEFAULT_BATCH_SIZE
    return min(max(DEFAULT_BATCH_SIZE, ladder.from_), ladder.to)


def _default_max_retries(contract: VoiceContractSpec | None) -> int:
    return Retries().max_retries if contract is None else contract.retries.max_retries
