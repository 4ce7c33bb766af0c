from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_gateway.http_api.speech_options import SpeechFormat, SpeechOptions, read_options
from voxfleet_gateway.refusals import CallRefused

pytestmark = pytest.mark.unit


def options(**call: object) -> SpeechOptions:
    return read_options(json.dumps({"input": "Hello.", **call}).encode())


def test_a_text_alone_is_spoken_as_the_endpoint_says() -> None:
    assert options() == SpeechOptions("Hello.")


def test_what_a_client_asks_is_read() -> None:
    assert options(
        model="tts-1",
        voice="af_heart",
        instruct="calmly",
        lang_code="a",
        speed=1.15,
        stream=True,
        streaming_interval=0.5,
        response_format="pcm",
    ) == SpeechOptions(
        "Hello.", "tts-1", "af_heart", "calmly", "a", 115, 500, response_format=SpeechFormat.PCM, stream=True
    )


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({}, False),
        ({"response_format": "pcm"}, True),
        ({"response_format": "pcm", "stream": False}, False),
        ({"stream": True}, True),
        ({"stream_format": "audio"}, True),
        ({"stream": None, "stream_format": None}, False),
    ],
)
def test_speech_is_streamed_when_asked_and_raw_samples_always(call: dict[str, object], expected: bool) -> None:
    assert options(**call).stream is expected


def test_openais_forms_of_a_voice_and_an_instruction_are_read() -> None:
    assert options(voice={"id": "af_heart"}, instructions="calmly").voice == "af_heart"
    assert options(instructions="calmly").instruction == "calmly"
    assert options(voice="default").voice is None


def test_mlx_audios_defaults_are_taken() -> None:
    defaults: dict[str, object] = {
        "gender": "male",
        "pitch": 1.0,
        "temperature": 0.7,
        "top_p": 0.95,
        "top_k": 40,
        "repetition_penalty": 1.0,
        "max_tokens": 1200,
        "verbose": False,
        "ref_audio": None,
        "ref_text": None,
        "instruct": None,
    }
    assert options(**defaults) == options()


@pytest.mark.parametrize(
    "call",
    [
        {"ref_audio": "/etc/passwd"},
        {"ref_text": "what the recording says"},
        {"voice": "../../etc/passwd"},
        {"voice": "/etc/passwd"},
        {"voice": "model.safetensors"},
        {"voice": ""},
        {"response_format": "mp3"},
        {"response_format": "opus"},
        {"stream_format": "sse"},
        {"speed": 0.2},
        {"speed": 5},
        {"speed": "fast"},
        {"temperature": 1.0},
        {"max_tokens": 5000},
        {"streaming_interval": 0},
        {"input": ""},
        {"input": " \n"},
        {"input": "x" * 100_000},
        {"input": 7},
        {"instruct": "loudly", "instructions": "calmly"},
        {"lang_code": ""},
        {"unknown": 1},
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(call: dict[str, object]) -> None:
    with pytest.raises(CallRefused) as refused:
        options(**call)
    assert refused.value.status == 400
    assert refused.value.param in call
    assert refused.value.param in refused.value.message
    for value in call.values():
        assert str(value) not in refused.value.message or len(str(value)) < 4


def test_a_format_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(CallRefused, match="response_format is one of wav, pcm, flac"):
        options(response_format="aac")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'"text"', b"\xff", b"{", b"[" * 100_000, b'{"input": NaN}', b'{"input": "a", "speed": NaN}']
)
def test_what_is_no_such_object_is_refused(body: bytes) -> None:
    with pytest.raises(CallRefused) as refused:
        read_options(body)
    assert refused.value.status == 400


@given(
    st.binary(max_size=200) | st.dictionaries(st.text(max_size=8), st.integers()).map(lambda d: json.dumps(d).encode())
)
def test_whatever_a_body_says_is_refused_with_400(body: bytes) -> None:
    with pytest.raises(CallRefused) as refused:
        read_options(body)
    assert refused.value.status == 400
