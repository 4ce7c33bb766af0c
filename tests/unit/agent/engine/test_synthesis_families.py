"""Settings that a family has become its keywords; all others are refused."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import pytest

from voxfleet_agent.engine.synthesis_families import (
    SYNTHESIS_FAMILIES,
    check_synthesis,
    rounded_interval,
    synthesis_family_of,
    synthesis_settings,
)
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_task import Synthesis, SynthesisMode, VoiceReference

REFERENCE = VoiceReference(uri="file:///data/anna.wav", text="I am Anna.")
PRESET = Synthesis(voice="anna")
CLONED = Synthesis(mode=SynthesisMode.CUSTOM_VOICE, reference=REFERENCE)
INSTRUCTED = Synthesis(mode=SynthesisMode.CUSTOM_VOICE, voice="anna", instruction="Whisper.")
DESIGNED = Synthesis(mode=SynthesisMode.VOICE_DESIGN, instruction="An old sailor.")
QWEN3 = {kind: synthesis_family_of("qwen3_tts", kind, frozenset()) for kind in ("base", "custom_voice", "voice_design")}
FAMILIES = {**SYNTHESIS_FAMILIES, **QWEN3}


@pytest.mark.parametrize(
    ("name", "synthesis", "keywords"),
    [
        ("pocket_tts", PRESET, {"voice": "anna"}),
        ("pocket_tts", CLONED, {}),  # it takes only the recording
        ("base", CLONED, {"ref_text": "I am Anna."}),
        ("custom_voice", PRESET, {"voice": "anna"}),
        ("custom_voice", INSTRUCTED, {"voice": "anna", "instruct": "Whisper."}),
        ("voice_design", DESIGNED, {"instruct": "An old sailor."}),
        (
            "voice_design",
            DESIGNED.model_copy(update={"language": "de"}),
            {"instruct": "An old sailor.", "lang_code": "german"},
        ),
        ("kokoro", PRESET.model_copy(update={"speed_percent": 125}), {"voice": "anna", "speed": 1.25}),
    ],
)
def test_modes_become_the_familys_keywords(name: str, synthesis: Synthesis, keywords: dict[str, Any]) -> None:
    check_synthesis(name, FAMILIES[name], synthesis, frozenset({"anna"}))
    assert synthesis_settings(FAMILIES[name], synthesis, None) == keywords
    assert synthesis_settings(FAMILIES[name], synthesis, 64) == {**keywords, "max_tokens": 64}


@pytest.mark.parametrize(
    ("name", "synthesis", "named"),
    [
        ("base", PRESET, "synthesis.mode"),
        ("voice_design", PRESET, "synthesis.mode"),
        ("kokoro", CLONED, "CustomVoice by a recording"),
        ("chatterbox", CLONED, "hears a recording with mlx-community/S3TokenizerV2"),
        ("chatterbox_turbo", CLONED, "from the hub and a lane cannot; take another model"),
        ("pocket_tts", INSTRUCTED, "CustomVoice by a voice with an instruction"),
        ("pocket_tts", DESIGNED, "VoiceDesign"),
        ("pocket_tts", CLONED.model_copy(update={"instruction": "Whisper."}), "synthesis.instruction"),
        ("pocket_tts", PRESET.model_copy(update={"speed_percent": 110}), "synthesis.speedPercent"),
        ("pocket_tts", PRESET.model_copy(update={"language": "en"}), "synthesis.language"),
        ("kokoro", PRESET.model_copy(update={"language": "tlh"}), "synthesis.language"),
        ("pocket_tts", PRESET.model_copy(update={"max_tokens": 64}), "synthesis.maxTokens"),
        ("pocket_tts", PRESET.model_copy(update={"voice": "otto"}), "no voice otto; it has anna"),
    ],
)
def test_settings_that_a_family_lacks_are_refused(name: str, synthesis: Synthesis, named: str) -> None:
    with pytest.raises(VoxFleetError) as caught:
        check_synthesis(name, FAMILIES[name], synthesis, frozenset({"anna"}))
    assert caught.value.failure_class is FailureClass.INVALID_INPUT and named in caught.value.message


@pytest.mark.parametrize("name", ["chatterbox", "chatterbox_turbo"])
def test_what_a_family_fetches_to_hear_a_recording_is_what_its_source_names(name: str) -> None:
    module = importlib.import_module(f"mlx_audio.tts.models.{name}.{name}")
    fetched = FAMILIES[name].reference_by
    assert fetched is not None and f'"{fetched}"' in inspect.getsource(module)


@pytest.mark.parametrize("voice", ["../anna", "/etc/passwd", "hf://a/b/c", "https://x/y", "anna.wav", ".", "a\\b"])
def test_a_voice_is_a_name_and_never_a_path(voice: str) -> None:
    with pytest.raises(VoxFleetError, match=r"synthesis\.voice"):
        check_synthesis("pocket_tts", FAMILIES["pocket_tts"], PRESET.model_copy(update={"voice": voice}), None)


def test_an_unknown_family_is_derived_from_its_keywords() -> None:
    family = synthesis_family_of(
        "new_one", "", frozenset({"text", "voice", "ref_audio", "stream", "streaming_interval"})
    )
    check_synthesis("new_one", family, PRESET, None)
    check_synthesis("new_one", family, CLONED, None)
    assert family.streams
    with pytest.raises(VoxFleetError):
        check_synthesis("new_one", family, DESIGNED, None)


@pytest.mark.parametrize(
    ("asked", "frames_per_second", "milliseconds"),
    [
        ("2s", 12.5, 2000),
        ("200ms", 12.5, 160),
        ("500ms", 12.5, 480),
        ("1ms", 12.5, 80),
        ("100ms", 137.5, 102),
        ("300ms", None, 300),
    ],
)
def test_intervals_are_whole_frames_and_reported(
    asked: str, frames_per_second: float | None, milliseconds: int
) -> None:
    assert rounded_interval(asked, frames_per_second).milliseconds == milliseconds


@pytest.mark.parametrize("frames_per_second", [12.5, 25.0, 137.5])
def test_families_that_round_down_keep_whole_frames(frames_per_second: float) -> None:
    for frames in range(1, 500):
        interval = rounded_interval(f"{round(frames * 1000 / frames_per_second)}ms", frames_per_second)
        assert int(interval.seconds * frames_per_second) == frames
        assert int(interval.seconds * 24_000) in (
            frames * 24_000 // frames_per_second,
            -(-frames * 24_000 // frames_per_second),
        )
