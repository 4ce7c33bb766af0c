"""What a caller may choose of how a text is spoken."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxfleet_agent.endpoint_lanes.spoken_as import spoken_as
from voxfleet_agent.standalone.cel_rules import violations
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_task import Synthesis, SynthesisMode, VoiceReference
from voxfleet_api.session_protocol import OpenSpeaking

REFERENCE = VoiceReference(uri="file:///voices/a.wav", text="one two")
PRESET = Synthesis(voice="serena", language="en", max_tokens=100)
INSTRUCTED = Synthesis(mode=SynthesisMode.CUSTOM_VOICE, voice="serena", instruction="calm")
RECORDED = Synthesis(mode=SynthesisMode.CUSTOM_VOICE, reference=REFERENCE)
DESIGNED = Synthesis(mode=SynthesisMode.VOICE_DESIGN, instruction="an old man")
LANES = (PRESET, INSTRUCTED, RECORDED, DESIGNED)


def asked(**choices: object) -> OpenSpeaking:
    return OpenSpeaking.model_validate({"text": "x", "window_bytes": 4_096, **choices})


@pytest.mark.parametrize("lane", LANES)
def test_who_chooses_nothing_gets_what_the_endpoint_says(lane: Synthesis) -> None:
    assert spoken_as(lane, asked()) == lane


def test_what_is_chosen_takes_the_place_of_the_endpoints() -> None:
    chosen = spoken_as(PRESET, asked(voice="ryan", language="French", speed_percent=150, interval_milliseconds=320))
    assert chosen == Synthesis(
        voice="ryan", language="French", speed_percent=150, streaming_interval="320ms", max_tokens=100
    )
    assert spoken_as(INSTRUCTED, asked(voice="ryan", instruction="sad")).instruction == "sad"
    assert spoken_as(DESIGNED, asked(instruction="a child")).instruction == "a child"
    assert spoken_as(RECORDED, asked(instruction="sad")).reference == REFERENCE


@pytest.mark.parametrize(
    ("lane", "choices", "field"),
    [
        (PRESET, {"instruction": "sad"}, "instruction"),
        (RECORDED, {"voice": "ryan"}, "voice"),
        (DESIGNED, {"voice": "ryan"}, "voice"),
        (PRESET, {"language": "e"}, "language"),
        (PRESET, {"language": "en; rm"}, "language"),
    ],
)
def test_what_cannot_be_chosen_is_named(lane: Synthesis, choices: dict[str, object], field: str) -> None:
    with pytest.raises(VoxFleetError) as raised:
        spoken_as(lane, asked(**choices))
    assert raised.value.failure_class is FailureClass.INVALID_INPUT
    assert raised.value.message.startswith(f"{field}: ")
    assert not any(str(value) in raised.value.message for value in choices.values() if value not in ("e",))


CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "voice": st.sampled_from(["ryan", "serena"]),
        "instruction": st.sampled_from(["sad", "calm"]),
        "language": st.sampled_from(["en", "French", "e", "en; rm", "x" * 36]),
        "speed_percent": st.integers(25, 400),
        "interval_milliseconds": st.integers(10, 60_000),
    },
)


@given(st.sampled_from(LANES), CHOICES)
@settings(max_examples=60)
def test_whatever_is_chosen_keeps_to_the_rules_of_a_spec_or_is_refused(
    lane: Synthesis, choices: dict[str, object]
) -> None:
    try:
        merged = spoken_as(lane, asked(**choices))
    except VoxFleetError as error:
        field = error.message.split(":")[0]
        assert field in choices
        return
    assert violations(merged, "synthesis") == []
    assert (merged.mode, merged.reference) == (lane.mode, lane.reference)
    for field in ("voice", "instruction", "language", "speed_percent"):
        assert getattr(merged, field) == choices.get(field, getattr(lane, field))
