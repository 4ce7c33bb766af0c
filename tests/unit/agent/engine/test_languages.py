"""Languages are accepted by code or name if the model knows them, told as its family spells them, refused otherwise."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import pytest

from voxfleet_agent.engine.languages import LANGUAGES, code_of, known_languages, language_problem, told
from voxfleet_agent.engine.synthesis_families import SYNTHESIS_FAMILIES, check_synthesis, synthesis_settings
from voxfleet_agent.engine.transcription_families import TRANSCRIPTION_FAMILIES
from voxfleet_api.failures import VoxFleetError
from voxfleet_api.kinds.job_task import Synthesis

ENGLISH_WHISPER = {"n_vocab": 51_864}
WHISPER = {"vocab_size": 51_865}  # as transformers writes it
WHISPER_V3 = {"n_vocab": 51_866}
PROMPTS = {"prompt": {"prompt_dictionary": {"en-US": 0, "de-DE": 1, "auto": 2}}}


@pytest.mark.parametrize(
    ("family", "config", "written", "passed_on"),
    [
        ("whisper", ENGLISH_WHISPER, "en", "en"),
        ("whisper", ENGLISH_WHISPER, "English", "en"),
        ("whisper", WHISPER, "EN", "en"),
        ("whisper", WHISPER, "castilian", "es"),
        ("whisper", WHISPER_V3, "yue", "yue"),
        ("qwen3_asr", {}, "en", "English"),
        ("qwen3_asr", {"support_languages": ["Chinese", "English"]}, "ENGLISH", "English"),
        ("phonon", {"support_languages": ["Chinese"]}, "en", "English"),
        ("canary", {}, "German", "de"),
        ("cohere_asr", {"supported_languages": ["en", "ko"]}, "ko", "ko"),
        ("nemotron_asr", PROMPTS, "en-us", "en-US"),
        ("nemotron_asr", {"model_type": "nemotron_asr_streaming"}, "en", "en"),
        ("granite_speech", {}, "fr", "fr"),
        ("voxtral", {}, "Dutch", "nl"),
        ("fun_asr_nano", {}, "Mandarin", "zh"),
        ("fun_asr_nano", {}, "WUU", "wuu"),
        ("whisper", {}, "English", "English"),
        ("a new one", {}, "English", "English"),
        ("a new one", {}, "tlh", "tlh"),
    ],
)
def test_a_language_is_told_as_the_family_spells_it(
    family: str, config: Mapping[str, object], written: str, passed_on: str
) -> None:
    known = known_languages(family, config)
    assert language_problem("transcription.language", family, written, known) is None
    assert told(written, known) == passed_on


@pytest.mark.parametrize(
    ("family", "config", "written", "words"),
    [
        ("whisper", ENGLISH_WHISPER, "fr", "knows en alone and not fr; write en, or take a multilingual model"),
        ("whisper", WHISPER, "yue", "and not yue; write one of these"),
        ("whisper", WHISPER, "en-US", "en, es"),
        ("qwen3_asr", {"support_languages": ["Chinese", "English"]}, "fr", "knows en, zh and not fr"),
        ("phonon", {}, "fr", "knows en alone"),
        ("mimo_v2_asr", {}, "fr", "knows en, zh and not fr"),
        ("nemotron_asr", PROMPTS, "fr-FR", "knows de-de, en-us and not fr-FR"),
        ("nemotron_asr", PROMPTS, "auto", "and not auto"),
        ("sensevoice", {}, "de", "knows en, ja, ko, yue, zh and not de"),
    ],
)
def test_a_language_that_a_model_does_not_know_is_refused_with_what_to_write(
    family: str, config: Mapping[str, object], written: str, words: str
) -> None:
    problem = language_problem("transcription.language", family, written, known_languages(family, config))
    assert problem is not None and problem.startswith("transcription.language: ") and words in problem


def test_a_language_is_only_refused_where_the_config_tells_what_the_model_knows() -> None:
    assert known_languages("whisper", {}) is None
    assert known_languages("nemotron_asr", {}) is None


def test_languages_are_reported_by_their_codes() -> None:
    assert [code_of(name) for name in ("English", "en", "EN", "Haitian Creole", "en-US", "tlh")] == [
        "en", "en", "en", "ht", "en-US", "tlh",
    ]  # fmt: skip


def test_the_table_has_the_languages_of_whisper_in_the_order_of_its_tokens() -> None:
    theirs = importlib.import_module("mlx_audio.stt.models.whisper.tokenizer").LANGUAGES
    assert list(LANGUAGES) == list(theirs)
    assert {code: name.lower() for code, name in LANGUAGES.items()} == theirs


def test_a_rule_has_the_languages_that_the_family_s_source_names() -> None:
    source = importlib.import_module("mlx_audio.stt.models.fun_asr_nano.fun_asr_nano").SUPPORTED_ISO_LANGUAGES
    assert set(known_languages("fun_asr_nano", {}) or ()) == set(source.split(", "))


def test_each_family_that_takes_a_language_has_a_rule() -> None:
    asked = {name for name, family in TRANSCRIPTION_FAMILIES.items() if family.language is not None}
    config = {"n_vocab": 51_865, "model_type": "nemotron_asr_streaming"}
    assert {name for name in TRANSCRIPTION_FAMILIES if known_languages(name, config) is not None} == asked


def test_a_voice_is_told_its_language_by_code_or_name() -> None:
    kokoro = SYNTHESIS_FAMILIES["kokoro"]
    for written, passed_on in (("English", "a"), ("EN-GB", "b"), ("fr", "f")):
        synthesis = Synthesis(voice="af_heart", language=written)
        check_synthesis("kokoro", kokoro, synthesis, None)
        assert synthesis_settings(kokoro, synthesis, None)["lang_code"] == passed_on
    with pytest.raises(VoxFleetError, match=r"synthesis\.language: this kokoro model knows en, .* and not ko"):
        check_synthesis("kokoro", kokoro, Synthesis(voice="af_heart", language="ko"), None)
