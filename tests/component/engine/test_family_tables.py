"""Compares the family tables with the installed mlx-audio, so that a newer version is noticed."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from voxfleet_agent.engine.model_rates import heard_rate_hz, spoken_rate_hz
from voxfleet_agent.engine.synthesis_families import SYNTHESIS_FAMILIES
from voxfleet_agent.engine.synthesizer import MlxSynthesizer
from voxfleet_agent.engine.transcriber import MlxTranscriber
from voxfleet_agent.engine.transcription_families import TRANSCRIPTION_FAMILIES
from voxfleet_agent.models.store import builtin_model_folder
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.kinds.job_model import BuiltinName
from voxfleet_api.kinds.job_task import Synthesis, Transcription
from voxfleet_models.families import FAMILIES

FETCHES_ON_IMPORT = {"llama", "qwen3"}
"""Families that fetch their codec from the hub on import."""


def _wrapped() -> dict[str, type]:
    """Families whose class passes all keywords on to this class."""
    qwen3: type = importlib.import_module("mlx_audio.stt.models.qwen3_asr.qwen3_asr").Qwen3ASRModel
    return dict.fromkeys(("mega_asr", "phonon", "qwen3_asr"), qwen3)


def _keywords(model: type, method: str = "generate") -> frozenset[str]:
    return frozenset(inspect.signature(getattr(model, method)).parameters)


@pytest.mark.parametrize("name", sorted(TRANSCRIPTION_FAMILIES))
def test_transcription_families_accept_what_the_table_says(name: str) -> None:
    module = importlib.import_module(f"mlx_audio.stt.models.{name}")
    family = TRANSCRIPTION_FAMILIES[name]
    model = _wrapped().get(name, module.Model)
    taken = _keywords(model)
    further = {"sample_len"} | ({"language"} if name == "canary" else set())  # among its **keywords
    asked = {keyword for keyword in (family.language, family.budget) if keyword} | set(family.word_settings)
    assert asked - further <= taken
    assert not family.float32 or "dtype" in taken


@pytest.mark.parametrize("name", sorted(set(SYNTHESIS_FAMILIES) - FETCHES_ON_IMPORT))
def test_synthesis_families_accept_what_the_table_says(name: str) -> None:
    try:
        module = importlib.import_module(f"mlx_audio.tts.models.{name}")
    except ImportError as error:
        pytest.skip(f"mlx-audio's {name} needs {error.name}")
    family = SYNTHESIS_FAMILIES[name]
    taken = _keywords(module.Model)
    asked = {
        "voice": family.preset,
        "ref_audio": family.reference,
        "ref_text": family.reference_text,
        "instruct": family.instructed_voice or family.design,
        "speed": family.speed,
        "lang_code": bool(family.languages),
        "max_tokens": family.budget,
        "stream": family.streams,
        "streaming_interval": family.streams,
    }
    assert {keyword for keyword, used in asked.items() if used} <= taken


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_rate_that_a_config_states_is_the_loaded_model_s(family: str, tiny: Callable[[str], Path]) -> None:
    folder = tiny(family)
    config = json.loads((folder / "config.json").read_text())
    if family in TRANSCRIPTION_FAMILIES:
        rate_hz = MlxTranscriber(folder, Transcription(), Timestamps.NONE).sample_rate_hz
        assert heard_rate_hz(config["model_type"], config) == rate_hz
    else:
        assert (
            spoken_rate_hz(config["model_type"], config)
            == MlxSynthesizer(folder, Synthesis(voice="anna")).sample_rate_hz
        )


def test_the_default_model_hears_what_its_config_states(default_model: MlxTranscriber) -> None:
    config = json.loads((builtin_model_folder(BuiltinName.COMMANDS) / "config.json").read_text())
    assert heard_rate_hz(config["model_type"], config) == default_model.sample_rate_hz == 16_000


def test_a_rate_is_only_told_where_it_is_known() -> None:
    assert heard_rate_hz("of another world", {"sample_rate": 8000}) is None
    assert heard_rate_hz("parakeet", {"preprocessor": {"sample_rate": 8000}}) == 8000
    assert heard_rate_hz("sensevoice", {"frontend_conf": {"fs": True}}) == 16_000
    assert spoken_rate_hz("sesame", {"sample_rate": 8000}) is None
    assert spoken_rate_hz("kokoro", {"sample_rate": "24000"}) is None
