"""Plan refuses everything that the model cannot do, in one message, before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.agent.stages.test_job_checks import contract, spec

from voxfleet_agent.stages.plan.job_checks import require_model_supports
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_input import Container, ContractInput, Conversions, Resample
from voxfleet_api.kinds.contract_output import AudioOutput, ContractOutput, Timestamps
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription
from voxfleet_api.kinds.voice_contract import VoiceContractSpec

WRONG_VOICE = Synthesis(voice="otto", language="en", speed_percent=110, max_tokens=99)


def model(folder: Path, model_type: str, *voices: str, **config: object) -> Path:
    (folder / "voices").mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": model_type, **config}))
    for voice in voices:
        (folder / "voices" / f"{voice}.safetensors").touch()
    return folder


def test_a_wrong_voice_language_speed_and_budget_are_named_together(tmp_path: Path) -> None:
    attempt = spec(contract(ContractOutput()), task=Task.SYNTHESIZE, synthesis=WRONG_VOICE)
    with pytest.raises(VoxFleetError) as caught:
        require_model_supports(model(tmp_path, "pocket_tts", "anna"), attempt)
    assert caught.value.failure_class is FailureClass.INVALID_INPUT
    for field in ("no voice otto; it has anna", "synthesis.language", "synthesis.speedPercent", "synthesis.maxTokens"):
        assert field in caught.value.message


def test_what_the_model_has_is_accepted(tmp_path: Path) -> None:
    attempt = spec(contract(ContractOutput()), task=Task.SYNTHESIZE, synthesis=Synthesis(voice="Anna"))
    require_model_supports(model(tmp_path, "pocket_tts", "anna"), attempt)


def test_a_voice_that_only_the_loaded_model_knows_is_checked_by_the_lane(tmp_path: Path) -> None:
    attempt = spec(contract(ContractOutput()), task=Task.SYNTHESIZE, synthesis=Synthesis(voice="vivian"))
    require_model_supports(model(tmp_path, "qwen3_tts", "anna", tts_model_type="custom_voice"), attempt)


def test_a_family_that_depends_on_its_folder_s_name_is_checked_by_the_lane(tmp_path: Path) -> None:
    attempt = spec(contract(ContractOutput()), task=Task.SYNTHESIZE, synthesis=WRONG_VOICE)
    require_model_supports(model(tmp_path, "kokoro", "anna"), attempt)


def test_wrong_settings_of_a_transcription_are_named_together(tmp_path: Path) -> None:
    attempt = spec(contract(ContractOutput(timestamps=Timestamps.WORD)))
    attempt = attempt.model_copy(update={"transcription": Transcription(language="en", max_tokens=99)})
    with pytest.raises(VoxFleetError) as caught:
        require_model_supports(model(tmp_path, "mms"), attempt)
    for field in ("transcription.language", "transcription.maxTokens", "output.timestamps"):
        assert field in caught.value.message


@pytest.mark.parametrize("language", ["fr", "french", "xx"])
def test_a_language_that_the_model_does_not_know_is_refused_by_its_config(language: str, tmp_path: Path) -> None:
    attempt = spec(contract(ContractOutput())).model_copy(update={"transcription": Transcription(language=language)})
    folder = model(tmp_path, "whisper", n_vocab=51_864)
    with pytest.raises(VoxFleetError, match=f"knows en alone and not {language}; write en"):
        require_model_supports(folder, attempt)


EIGHT_KHZ = ContractInput(containers=(Container.WAV,), sample_rates_hz=(8000,), channels=(1,))
BOTH = EIGHT_KHZ.model_copy(update={"sample_rates_hz": (8000, 16000)})
SIXTEEN_KHZ = EIGHT_KHZ.model_copy(update={"sample_rates_hz": (16000,)})


def to(rate_hz: int) -> Conversions:
    return Conversions(resample=Resample(to_hz=rate_hz))


@pytest.mark.parametrize(
    ("accepted", "conversions", "words"),
    [
        (EIGHT_KHZ, Conversions(), "accepts 8000 Hz and converts no rate, and the model hears 16000 Hz"),
        (EIGHT_KHZ, to(22050), "conversions.resample.toHz is 22050 and the model hears 16000 Hz; write 16000 there"),
        (BOTH, to(8000), "conversions.resample.toHz is 8000 and the model hears 16000 Hz"),
        (EIGHT_KHZ, to(16000), None),
        (BOTH, Conversions(), None),
        (SIXTEEN_KHZ, Conversions(), None),
        (SIXTEEN_KHZ, to(8000), None),
    ],
)
def test_a_contract_that_no_clip_can_pass_on_its_way_to_the_model_is_refused(
    tmp_path: Path, accepted: ContractInput, conversions: Conversions, words: str | None
) -> None:
    declared = VoiceContractSpec(input=accepted, conversions=conversions)
    folder = model(tmp_path, "parakeet", preprocessor={"sample_rate": 16000})
    if words is None:
        require_model_supports(folder, spec(declared))
        return
    with pytest.raises(VoxFleetError, match=words) as caught:
        require_model_supports(folder, spec(declared))
    assert caught.value.failure_class is FailureClass.INVALID_INPUT


def test_an_output_at_another_rate_than_the_model_s_is_refused(tmp_path: Path) -> None:
    folder = model(tmp_path, "pocket_tts", "anna", mimi={"sample_rate": 24000})
    right = contract(ContractOutput(audio=AudioOutput(sample_rate_hz=24000)))
    wrong = contract(ContractOutput(audio=AudioOutput(sample_rate_hz=16000)))
    voice = Synthesis(voice="anna")
    require_model_supports(folder, spec(right, task=Task.SYNTHESIZE, synthesis=voice))
    with pytest.raises(VoxFleetError, match="sampleRateHz is 16000 and the model speaks at 24000 Hz"):
        require_model_supports(folder, spec(wrong, task=Task.SYNTHESIZE, synthesis=voice))
