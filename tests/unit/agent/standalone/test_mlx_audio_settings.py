"""TMPDIR and the MLX_AUDIO_ variables: defaults, values that are set, and conflicts with the contract."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from voxfleet_agent import mlx_audio_names
from voxfleet_agent.config import AgentConfig
from voxfleet_agent.standalone.mlx_audio_settings import (
    SettingsConflict,
    settings_of_agent,
    settle_settings,
    with_defaults,
)
from voxfleet_api.kinds.contract_input import Container, ContractInput, Conversions, Resample
from voxfleet_api.kinds.contract_limits import Batching, Ladder, Retries
from voxfleet_api.kinds.contract_output import AudioOutput, ContractOutput
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

HOME = Path("/home/somebody")
INPUT = ContractInput(containers=(Container.WAV,), sample_rates_hz=(8000, 44100), channels=(1,))
OPEN = VoiceContractSpec(input=INPUT)
RESAMPLED = VoiceContractSpec(input=INPUT, conversions=Conversions(resample=Resample(to_hz=22050)))
LADDER = VoiceContractSpec(input=INPUT, batching=Batching(ladder=Ladder(from_=1, to=2)))
STATED = VoiceContractSpec(input=INPUT, retries=Retries(max_retries=5))
SPEAKING = VoiceContractSpec(input=INPUT, output=ContractOutput(audio=AudioOutput(sample_rate_hz=24000)))


def test_nothing_is_set() -> None:
    assert settle_settings({}, HOME).variables() == {
        "TMPDIR": "/home/somebody/Scratch/mlx-audio-wav",
        "MLX_AUDIO_SAMPLE_RATE_HZ": "16000",
        "MLX_AUDIO_BATCH_SIZE": "4",
        "MLX_AUDIO_MAX_RETRIES": "3",
        "MLX_AUDIO_QUARANTINE_DIR": "/home/somebody/Scratch/mlx-audio-wav/quarantine",
    }


def test_everything_is_set() -> None:
    names = {
        "TMPDIR": "/fast disk",
        "MLX_AUDIO_SAMPLE_RATE_HZ": "44100",
        "MLX_AUDIO_BATCH_SIZE": "2",
        "MLX_AUDIO_MAX_RETRIES": "0",
        "MLX_AUDIO_QUARANTINE_DIR": "/kept",
    }
    assert settle_settings(names, HOME).variables() == names
    assert settle_settings({"TMPDIR": "/fast disk"}, HOME).quarantine == Path("/fast disk/quarantine")
    lines = settle_settings(names, HOME).export_lines()
    assert [shlex.split(line)[1] for line in lines] == [f"{name}={value}" for name, value in names.items()]


@pytest.mark.parametrize(
    ("contract", "task", "rate_hz"),
    [
        (OPEN, Task.TRANSCRIBE, 8000),
        (OPEN.model_copy(update={"input": INPUT.model_copy(update={"sample_rates_hz": (8000, 16000)})}),
         Task.TRANSCRIBE, 16000),
        (RESAMPLED, Task.TRANSCRIBE, 22050),
        (SPEAKING, Task.SYNTHESIZE, 24000),
    ],
)  # fmt: skip
def test_what_is_printed_for_a_contract_agrees_with_it(contract: VoiceContractSpec, task: Task, rate_hz: int) -> None:
    settled = settle_settings({}, HOME, contract, task)
    assert settled.sample_rate_hz == rate_hz
    assert settle_settings(settled.variables(), HOME, contract, task) == settled


def test_the_contract_settles_what_is_not_set() -> None:
    assert settle_settings({}, HOME, LADDER).batch_size == 2
    assert settle_settings({}, HOME, STATED).max_retries == 5


@pytest.mark.parametrize(
    ("name", "value", "contract", "task", "field"),
    [
        (mlx_audio_names.SAMPLE_RATE, "16000", RESAMPLED, Task.TRANSCRIBE, "conversions.resample.toHz (22050)"),
        (mlx_audio_names.SAMPLE_RATE, "16000", OPEN, Task.TRANSCRIBE, "input.sampleRatesHz ([8000, 44100] without"),
        (mlx_audio_names.SAMPLE_RATE, "16000", SPEAKING, Task.SYNTHESIZE, "output.audio.sampleRateHz (24000)"),
        (mlx_audio_names.BATCH_SIZE, "4", LADDER, Task.TRANSCRIBE, "batching.ladder (1 to 2)"),
        (mlx_audio_names.MAX_RETRIES, "3", STATED, Task.TRANSCRIBE, "retries.maxRetries (5)"),
    ],
)
def test_a_conflict_is_refused_naming_both(
    name: str, value: str, contract: VoiceContractSpec, task: Task, field: str
) -> None:
    with pytest.raises(SettingsConflict) as refused:
        settle_settings({name: value}, HOME, contract, task)
    assert f"{name}={value}" in str(refused.value) and field in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "contract", "task"),
    [
        (mlx_audio_names.SAMPLE_RATE, "22050", RESAMPLED, Task.TRANSCRIBE),
        (mlx_audio_names.SAMPLE_RATE, "44100", OPEN, Task.TRANSCRIBE),
        (mlx_audio_names.SAMPLE_RATE, "24000", SPEAKING, Task.SYNTHESIZE),
        (mlx_audio_names.BATCH_SIZE, "1", LADDER, Task.TRANSCRIBE),
        (mlx_audio_names.BATCH_SIZE, "8", OPEN, Task.TRANSCRIBE),
        (mlx_audio_names.MAX_RETRIES, "5", STATED, Task.TRANSCRIBE),
        (mlx_audio_names.MAX_RETRIES, "9", OPEN, Task.TRANSCRIBE),
    ],
)
def test_what_agrees_or_is_left_open_is_taken(name: str, value: str, contract: VoiceContractSpec, task: Task) -> None:
    assert settle_settings({name: value}, HOME, contract, task).variables()[name] == value


def test_retries_that_the_contract_leaves_open_come_from_the_environment() -> None:
    runbook = settle_settings({mlx_audio_names.MAX_RETRIES: "7"}, HOME, OPEN)
    assert with_defaults(OPEN, runbook).retries.max_retries == 7
    assert with_defaults(STATED, settle_settings({}, HOME, STATED)) == STATED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (mlx_audio_names.SAMPLE_RATE, "16 kHz"),
        (mlx_audio_names.SAMPLE_RATE, "1"),
        (mlx_audio_names.BATCH_SIZE, "9"),
        (mlx_audio_names.BATCH_SIZE, "0"),
        (mlx_audio_names.BATCH_SIZE, "²"),
        (mlx_audio_names.MAX_RETRIES, "-1"),
        (mlx_audio_names.TMPDIR, "scratch"),
        (mlx_audio_names.QUARANTINE, "./q"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsConflict, match=f"{name}={value}"):
        settle_settings({name: value}, HOME)


def test_an_empty_name_counts_as_not_set() -> None:
    assert settle_settings(dict.fromkeys(mlx_audio_names.NAMES, ""), HOME) == settle_settings({}, HOME)


def test_an_agent_s_own_configuration_is_printed() -> None:
    config = AgentConfig.load(
        {
            "stateDir": "/var/state",
            "tokenFile": "/t",
            "ledgerKeyFile": "/k",
            "scratch": {"path": "/fast", "quota": "1Gi"},
            "pools": [{"name": "offline", "batchSize": 6}],
        }
    )
    runbook = settings_of_agent(config, Path("/fast/quarantine"), STATED)
    assert (runbook.scratch, runbook.batch_size, runbook.max_retries) == (Path("/fast"), 6, 5)
