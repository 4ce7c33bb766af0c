from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_gateway.http_api.transcription_options import (
    ResponseFormat,
    StreamForm,
    TranscriptionOptions,
    read_options,
    stream_form,
)
from voxfleet_gateway.refusals import CallRefused

pytestmark = pytest.mark.unit


def test_a_form_with_a_file_alone_is_answered_as_the_endpoint_says() -> None:
    assert read_options([]) == TranscriptionOptions(None, None, ResponseFormat.JSON, stream=False)


def test_what_a_client_asks_is_read() -> None:
    fields = [("model", "whisper-1"), ("language", "de"), ("response_format", "srt"), ("stream", "False")]
    assert read_options(fields) == TranscriptionOptions("whisper-1", "de", ResponseFormat.SRT, stream=False)


def test_lines_are_a_stream() -> None:
    assert read_options([("response_format", "ndjson")]).stream


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt", ""),
        ("temperature", "0"),
        ("temperature", "0.0"),
        ("chunking_strategy", "auto"),
        ("timestamp_granularities[]", "segment"),
        ("max_tokens", ""),
        ("chunk_duration", "30.0"),
        ("frame_threshold", "25"),
        ("word_timestamps", "False"),
        ("verbose", "false"),
    ],
)
def test_defaults_of_clients_are_taken(name: str, value: str) -> None:
    assert read_options([(name, value)]) == TranscriptionOptions()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt", "the words of the song"),
        ("temperature", "0.2"),
        ("temperature", "warm"),
        ("chunking_strategy", "server_vad"),
        ("chunking_strategy[type]", "server_vad"),
        ("timestamp_granularities[]", "word"),
        ("include[]", "logprobs"),
        ("max_tokens", "4096"),
        ("response_format", "diarized_json"),
        ("stream", "maybe"),
        ("language", "x" * 65),
        ("ref_audio", "/etc/passwd"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(CallRefused) as refused:
        read_options([(name, value)])
    assert refused.value.status == 400
    assert (refused.value.param or "") in name
    assert name.split("[")[0] in refused.value.message
    assert value not in refused.value.message or value in ("word", "server_vad")


def test_a_stream_of_subtitles_is_refused() -> None:
    with pytest.raises(CallRefused, match="response_format of a stream"):
        read_options([("stream", "true"), ("response_format", "vtt")])


def test_a_field_that_comes_twice_is_refused() -> None:
    with pytest.raises(CallRefused, match="model is there more than once"):
        read_options([("model", "one"), ("model", "another")])


@given(st.lists(st.tuples(st.text(max_size=80), st.text(max_size=80)), max_size=4))
def test_whatever_a_form_says_is_read_or_refused_with_400(fields: list[tuple[str, str]]) -> None:
    statuses = set()
    try:
        read_options(fields)
    except CallRefused as refused:
        statuses = {refused.status}
    assert statuses <= {400}


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", StreamForm.LINES),
        ("*/*", StreamForm.LINES),
        ("application/json", StreamForm.EVENTS),
        ("text/event-stream", StreamForm.EVENTS),
        ("application/json, text/event-stream;q=0.9", StreamForm.EVENTS),
        ("application/x-ndjson", StreamForm.LINES),
        ("application/x-ndjson, text/event-stream", StreamForm.LINES),
        ("application/json, */*", StreamForm.LINES),
    ],
)
def test_a_stream_has_the_form_that_its_client_reads(accept: str, expected: StreamForm) -> None:
    assert stream_form(accept, ResponseFormat.JSON) is expected


def test_who_asks_for_lines_by_format_gets_them() -> None:
    assert stream_form("text/event-stream", ResponseFormat.NDJSON) is StreamForm.LINES
