"""Plan refuses everything that the model cannot do, in one message, before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.agent.stages.test_job_checks import contract, spec

from voxfleet_agent.stages.plan.job_checks import require_model_supports
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import ContractOutput, Timestamps
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription

WRONG_VOICE = Synthesis(voice="otto", language="en", speed_percent=110, max_tokens=99)


def model(folder: Path, model_type: str, *voices: str, **config: str) -> Path:
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
