"""A transcript grows by its deltas alone, in each form in which it is written."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_api.rows import TimedText
from voxfleet_api.session_protocol import TextDelta, TurnDone
from voxfleet_gateway.http_api.transcript import Transcript
from voxfleet_gateway.http_api.transcript_answers import whole_answer
from voxfleet_gateway.http_api.transcript_streams import transcript_stream
from voxfleet_gateway.http_api.transcription_options import ResponseFormat, StreamForm
from voxfleet_gateway.refusals import CallRefused

pytestmark = pytest.mark.unit

texts = st.text(max_size=20).map(str.strip)
turns = st.lists(st.lists(texts, max_size=4), max_size=5)
"""Deltas of each turn."""


def streamed(form: StreamForm, spoken: Sequence[Sequence[str]]) -> tuple[list[str], Transcript]:
    """What was written, by lines or events, and the transcript."""
    stream, transcript, written = transcript_stream(form), Transcript(), b""
    for number, deltas in enumerate(spoken):
        for delta in deltas:
            written += stream.delta(transcript.add_delta(TextDelta(turn=number, text=delta)))
        turn = TurnDone(turn=number, text="".join(deltas), end_milliseconds=number + 1)
        written += stream.turn(transcript.add_turn(turn), turn)
    written += stream.end(transcript, 1000)
    separator = "\n" if form is StreamForm.LINES else "\n\n"
    *told, rest = written.decode().split(separator)
    assert rest == ""
    return told, transcript


@given(turns)
def test_the_lines_one_after_the_other_are_the_transcript(spoken: list[list[str]]) -> None:
    told, transcript = streamed(StreamForm.LINES, spoken)
    lines = [json.loads(line) for line in told]
    assert "".join(line["text"] for line in lines) == transcript.text
    assert [line["is_final"] for line in lines] == [False] * (len(lines) - 1) + [True]


@given(turns)
def test_the_deltas_one_after_the_other_are_the_text_of_the_last_event(spoken: list[list[str]]) -> None:
    told, transcript = streamed(StreamForm.EVENTS, spoken)
    *deltas, done = [json.loads(event.removeprefix("data: ")) for event in told]
    assert all(event["type"] == "transcript.text.delta" and event["delta"] for event in deltas)
    assert "".join(event["delta"] for event in deltas) == transcript.text == done["text"]
    assert done["type"] == "transcript.text.done"


@given(turns)
def test_turns_are_joined_by_a_space_where_both_have_text(spoken: list[list[str]]) -> None:
    _, transcript = streamed(StreamForm.LINES, spoken)
    assert transcript.text == " ".join(text for text in map("".join, spoken) if text)


@given(st.lists(texts, max_size=4), texts)
def test_a_turn_adds_what_its_deltas_left_out(deltas: list[str], rest: str) -> None:
    transcript = Transcript()
    told = "".join(transcript.add_delta(TextDelta(turn=0, text=delta)) for delta in deltas)
    told += transcript.add_turn(TurnDone(turn=0, text="".join(deltas) + rest))
    assert told == transcript.text == "".join(deltas) + rest


def test_what_was_told_stands_though_the_turn_says_otherwise() -> None:
    transcript = Transcript()
    transcript.add_delta(TextDelta(turn=0, text="left"))
    assert transcript.add_turn(TurnDone(turn=0, text="right")) == ""
    assert transcript.text == "left"


def test_the_last_text_of_a_turn_has_its_times() -> None:
    stream = transcript_stream(StreamForm.LINES)
    assert stream.delta("a") == b""
    assert json.loads(stream.delta("b")) == {
        "text": "a",
        "start": None,
        "end": None,
        "is_final": False,
        "language": None,
    }
    turn = TurnDone(turn=0, text="ab", start_milliseconds=1500, end_milliseconds=2250, language="en")
    assert json.loads(stream.turn("", turn)) == {
        "text": "b",
        "start": 1.5,
        "end": 2.25,
        "is_final": False,
        "language": "en",
    }


def test_an_error_is_one_line_or_one_event() -> None:
    refusal = CallRefused(503, "lane_crashed", "LaneCrashed: its child ended")
    line = transcript_stream(StreamForm.LINES).failure(refusal)
    assert json.loads(line) == refusal.error_object() and line.endswith(b"}\n")
    event = transcript_stream(StreamForm.EVENTS).failure(refusal).decode()
    assert event.startswith("event: error\ndata: {") and event.endswith("}\n\n")


def verbose(transcript: Transcript, language: str | None) -> dict[str, object]:
    answer = whole_answer(transcript, ResponseFormat.VERBOSE_JSON, audio_milliseconds=2500, language=language)
    fields: dict[str, object] = json.loads(answer.body)
    return fields


def test_a_verbose_answer_has_the_segments_and_a_turn_without_any_is_one() -> None:
    transcript = Transcript()
    timed = (TimedText(start_milliseconds=100, end_milliseconds=900, text="left"),)
    transcript.add_turn(TurnDone(turn=0, text="left", segments=timed))
    transcript.add_turn(TurnDone(turn=1, text=""))
    transcript.add_turn(TurnDone(turn=2, text="right", start_milliseconds=1000, end_milliseconds=2000, language="en"))
    assert verbose(transcript, "de") == {
        "task": "transcribe",
        "text": "left right",
        "language": "en",
        "duration": 2.5,
        "segments": [
            {"id": 0, "start": 0.1, "end": 0.9, "text": "left"},
            {"id": 1, "start": 1.0, "end": 2.0, "text": "right"},
        ],
        "usage": {"type": "duration", "seconds": 2.5},
    }


def test_a_verbose_answer_says_the_language_that_was_asked_for_or_none() -> None:
    assert verbose(Transcript(), "de")["language"] == "de"
    assert verbose(Transcript(), None)["language"] is None


def test_subtitles_of_nothing_are_empty_files() -> None:
    assert whole_answer(Transcript(), ResponseFormat.SRT, audio_milliseconds=0, language=None).body == b""
    assert whole_answer(Transcript(), ResponseFormat.VTT, audio_milliseconds=0, language=None).body == b"WEBVTT\n"


def test_an_arrow_in_the_text_is_no_line_of_times() -> None:
    transcript = Transcript()
    transcript.add_turn(TurnDone(turn=0, text="left --> right", end_milliseconds=2000))
    for response_format in (ResponseFormat.SRT, ResponseFormat.VTT):
        body = whole_answer(transcript, response_format, audio_milliseconds=2000, language=None).body
        assert body.count(b"-->") == 1
