"""Transcript files, read back by readers that follow the formats' specifications strictly."""

from __future__ import annotations

import html
import json
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxfleet_agent.stages.finalize import transcript_formats
from voxfleet_agent.stages.finalize.transcript_formats import Cue, cues
from voxfleet_api.results import ClipStatus, ResultRow, TimedText

_TIME = r"(\d{2,}):([0-5]\d):([0-5]\d)%s(\d{3})"


def row(*segments: TimedText, text: str = "one two") -> ResultRow:
    return ResultRow(
        index=7, custom_id="c", status=ClipStatus.SUCCEEDED, text=text, segments=segments, audio_milliseconds=9000
    )


def at(start: int, end: int, text: str) -> TimedText:
    return TimedText(start_milliseconds=start, end_milliseconds=end, text=text)


def read_cues(body: str, separator: str) -> list[Cue]:
    """Reads blocks of one line of times and one line of text."""
    line = re.compile(f"{_TIME % separator} --> {_TIME % separator}")
    parsed = []
    for block in body.split("\n\n"):
        times, text = block.split("\n")
        match = line.fullmatch(times)
        assert match is not None, times
        start, end = (
            ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int(rest)
            for hours, minutes, seconds, rest in (match.groups()[:4], match.groups()[4:])
        )
        parsed.append(Cue(start, end, text))
    return parsed


def read_srt(content: bytes) -> list[Cue]:
    if not content:
        return []
    text = content.decode()
    assert text.endswith("\n\n")
    blocks = text.removesuffix("\n\n").split("\n\n")
    for number, block in enumerate(blocks, start=1):
        assert block.startswith(f"{number}\n")
    return read_cues("\n\n".join(block.partition("\n")[2] for block in blocks), ",")


def read_vtt(content: bytes) -> list[Cue]:
    text = content.decode()
    assert text.startswith("WEBVTT\n")
    body = text.removeprefix("WEBVTT\n")
    if not body:
        return []
    assert body.startswith("\n") and body.endswith("\n")
    found = read_cues(body[1:-1], ".")
    for cue in found:
        assert "-->" not in cue.text and "<" not in cue.text and not re.search(r"&(?!amp;|lt;|gt;)", cue.text)
    return [Cue(cue.start_milliseconds, cue.end_milliseconds, html.unescape(cue.text)) for cue in found]


def test_both_formats_of_two_cues() -> None:
    two = row(at(0, 1500, "Hello <b>you</b> & me"), at(3_600_000, 3_661_007, "100 --> 7"))
    assert transcript_formats.srt(two).decode() == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello <b>you</b> & me\n\n2\n01:00:00,000 --> 01:01:01,007\n100 -> 7\n\n"
    )
    assert transcript_formats.vtt(two).decode() == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello &lt;b&gt;you&lt;/b&gt; &amp; me\n"
        "\n01:00:00.000 --> 01:01:01.007\n100 --&gt; 7\n"
    )


SEGMENTS = st.lists(
    st.builds(at, st.integers(0, 400_000_000), st.integers(0, 400_000_000), st.text(max_size=20)), max_size=8
)


@settings(deadline=None)
@given(SEGMENTS)
def test_cues_are_never_empty_and_times_never_go_back(segments: list[TimedText]) -> None:
    found = cues(segments)
    assert all(cue.text.strip() and "\n" not in cue.text and "\0" not in cue.text for cue in found)
    assert all(0 <= cue.start_milliseconds < cue.end_milliseconds for cue in found)
    assert all(first.end_milliseconds <= second.start_milliseconds for first, second in pairwise(found))
    assert len(found) == sum(bool(segment.text.split()) for segment in segments)


@settings(deadline=None)
@given(SEGMENTS)
def test_a_strict_reader_finds_the_cues_again(segments: list[TimedText]) -> None:
    found = cues(segments)
    assert read_vtt(transcript_formats.vtt(row(*segments))) == found
    without_arrows = [Cue(cue.start_milliseconds, cue.end_milliseconds, cue.text.replace("-->", "->")) for cue in found]
    assert read_srt(transcript_formats.srt(row(*segments))) == without_arrows


def test_words_make_cues_where_there_are_no_segments() -> None:
    words = row().model_copy(update={"segments": None, "words": (at(0, 10, "one"), at(10, 20, "two"))})
    assert [cue.text for cue in read_vtt(transcript_formats.vtt(words))] == ["one", "two"]


@pytest.mark.parametrize("text", ["", "  ", None])
def test_an_empty_transcript_makes_files_without_text(text: str | None) -> None:
    empty = row().model_copy(update={"text": text})
    assert (transcript_formats.srt(empty), transcript_formats.vtt(empty), transcript_formats.txt(empty)) == (
        b"",
        b"WEBVTT\n",
        b"",
    )


def test_txt_and_json() -> None:
    one = row(at(0, 1500, "Grüße"), text=" Grüße ")
    assert transcript_formats.txt(one).decode() == "Grüße\n"
    assert json.loads(transcript_formats.json(one)) == {
        "index": 7,
        "custom_id": "c",
        "text": " Grüße ",
        "audio_milliseconds": 9000,
        "segments": [{"start_milliseconds": 0, "end_milliseconds": 1500, "text": "Grüße"}],
    }
