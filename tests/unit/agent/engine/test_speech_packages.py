"""What a family needs to speak is named before the first text, with the commands that install it."""

from __future__ import annotations

import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
from mlx_audio.tts.models.kokoro import pipeline  # type: ignore[import-untyped] # it ships no types

from voxfleet_agent.doctor.finding import Health
from voxfleet_agent.doctor.runtime import judge_speech
from voxfleet_agent.engine.speech_packages import (
    IN_EXTRA,
    missing_modules_problem,
    needed_modules,
    voice_file_problem,
)
from voxfleet_agent.worker.load_refusals import missing_package

ROOT = Path(__file__).parents[4]


def test_what_is_missing_is_named_with_each_command_once() -> None:
    modules = needed_modules("kokoro", None)
    problem = missing_modules_problem("kokoro", modules, lambda module: module == "misaki")
    assert problem == (
        "a kokoro model needs the Python packages phonemizer, espeakng_loader, num2words, spacy, en_core_web_sm, which"
        " a lane does not download; run: pip install 'voxfleet[tts]' && python -m spacy download en_core_web_sm"
    )
    assert missing_modules_problem("kokoro", modules, lambda _: True) is None


@pytest.mark.parametrize(
    ("family", "language", "command"),
    [
        ("kokoro", "f", "pip install 'voxfleet[tts]'"),
        ("kokoro", "j", "pip install 'misaki[ja]' && python -m unidic download"),
        ("kokoro", "z", "pip install 'misaki[zh]'"),
        ("kitten_tts", None, "pip install 'voxfleet[tts]'"),
        ("melotts", None, "pip install g2p_en"),
        ("voxtral_tts", None, "pip install 'mistral-common[audio]'"),
    ],
)
def test_each_language_and_family_has_its_command(family: str, language: str | None, command: str) -> None:
    problem = missing_modules_problem(family, needed_modules(family, language), lambda _: False)
    assert problem is not None and command in problem


def test_families_that_bring_everything_need_nothing() -> None:
    assert [needed_modules(family, None) for family in ("pocket_tts", "qwen3_tts", "a new one")] == [(), (), ()]


def test_the_extra_has_what_its_families_need() -> None:
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["tts"]
    packages = {requirement.partition(">")[0].removesuffix("-fork").replace("-", "_") for requirement in extra}
    assert {module for modules in IN_EXTRA.values() for module in modules} - {"en_core_web_sm"} == packages
    locked = (ROOT / "requirements-tts.lock").read_text()
    assert all(f"\n{requirement.partition('>')[0]}==" in locked for requirement in extra)
    assert "\ntorch==" not in locked


def test_doctor_says_what_is_missing_and_finds_no_fault_with_a_mac_that_only_transcribes() -> None:
    bare, equipped = judge_speech(lambda _: False), judge_speech(lambda _: True)
    assert (bare.health, equipped.health) == (Health.OK, Health.OK)
    assert bare.found == "fit to transcribe; kitten_tts and kokoro models cannot speak here"
    assert bare.mend == ("only if they should: pip install 'voxfleet[tts]' && python -m spacy download en_core_web_sm")
    assert not equipped.mend
    assert equipped.found == "kitten_tts and kokoro have what they speak English with"


@pytest.mark.skipif(find_spec("misaki") is not None, reason="misaki is installed")
def test_a_package_that_a_model_s_code_asks_for_in_words_of_its_own_is_found() -> None:
    with pytest.raises(ImportError, match="Kokoro requires") as raised:
        pipeline._get_misaki_en()
    assert missing_package(raised.value) == "misaki"
    assert missing_package(ValueError("another reason")) is None


def test_a_voice_that_would_be_looked_for_on_the_hub_is_named_by_its_file(tmp_path: Path) -> None:
    problem = voice_file_problem("kokoro", tmp_path, "bf_emma")
    assert problem is not None and str(tmp_path / "voices" / "bf_emma.safetensors") in problem
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "bf_emma.safetensors").touch()
    assert voice_file_problem("kokoro", tmp_path, "bf_emma") is None
    assert voice_file_problem("pocket_tts", tmp_path, "anna") is None
