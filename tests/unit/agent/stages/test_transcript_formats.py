"""Transcript files, read back by other people's readers."""

from __future__ import annotations

import html
import json
import re
from datetime import timedelta

import pytest
import srt  # type: ignore[import-untyped] # it ships no types
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.stages.finalize import transcript_formats
from voxfleet_api.rows import ClipStatus, ResultRow, TimedText
from voxfleet_api.subtitle_cues import Cue, cues

AUDIO_MILLISECONDS = 1_000_000_000


def row(*segments: TimedText, text: str = "one two") -> ResultRow:
    return ResultRow(
        index=7,
        custom_id="c",
        status=ClipStatus.SUCCEEDED,
        text=text,
        segments=segments,
        audio_milliseconds=AUDIO_MILLISECONDS,
    )


def at(start: int, end: int, text: str) -> TimedText:
    return TimedText(start_milliseconds=start, end_milliseconds=end, text=text)


def read_srt(content: bytes) -> list[Cue]:
    """With the library `srt`, which refuses what lies between cues."""
    found = list(srt.parse(content.decode(), ignore_errors=False))
    assert [cue.index for cue in found] == list(range(1, len(found) + 1))
    assert not any(cue.proprietary for cue in found), "nothing follows the times"
    return [Cue(_milliseconds(cue.start), _milliseconds(cue.end), cue.content) for cue in found]


def read_vtt(content: bytes) -> list[Cue]:
    """With the library `webvtt`, whose captions keep the text as it is written."""
    text = content.decode()
    assert text.startswith("WEBVTT\n")
    found = webvtt.from_string(text).captions
    for caption in found:
        assert not caption.identifier and not caption.settings
        assert "<" not in caption.raw_text and not re.search(r"&(?!amp;|lt;|gt;)", caption.raw_text)
    return [Cue(_vtt_milliseconds(cue.start), _vtt_milliseconds(cue.end), html.unescape(cue.raw_text)) for cue in found]


def _milliseconds(time: timedelta) -> int:
    return time // timedelta(milliseconds=1)


def _vtt_milliseconds(time: str) -> int:
    hours, minutes, seconds = time.split(":")
    return (int(hours) * 60 + int(minutes)) * 60_000 + int(seconds.replace(".", ""))


def without_arrows(found: list[Cue]) -> list[Cue]:
    return [Cue(cue.start_milliseconds, cue.end_milliseconds, re.sub("--+>", "->", cue.text)) for cue in found]


def test_both_formats_of_two_cues() -> None:
    two = row(at(0, 1500, "Hello <b>you</b> & me"), at(3_600_000, 3_605_007, "100 --> 7"))
    assert transcript_formats.srt(two).decode() == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello <b>you</b> & me\n\n2\n01:00:00,000 --> 01:00:05,007\n100 -> 7\n\n"
    )
    assert transcript_formats.vtt(two).decode() == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello &lt;b&gt;you&lt;/b&gt; &amp; me\n"
        "\n01:00:00.000 --> 01:00:05.007\n100 --&gt; 7\n"
    )


ODD_TEXTS = [
    "-->",
    "---->",
    "-- -->>",
    "00:00:01,000 --> 00:00:02,000",
    "00:00:01.000 ---> 00:00:02.000 line:0",
    "00:00:01,000 - > 00:00:02,000",
    "1\n00:00:01,000 --> 00:00:02,000\ntwo\n\n2",
    "  <b>x</b> & y\n\nz\r\n1\n",
    "&amp; &#x3c;i> </c.loud> <00:00:01.000>",
    "42",
    "-1.5",
    "NOTE x",
    "STYLE",
    "REGION",
    "WEBVTT",
    "\u2028para\u2029\x0b\x0c\x1c\x1d\x1e\x85",
    "\x00\ufeff",
    "\ufeffWEBVTT",
    "\x00",
    "\u200b",
    "{\\an8}top",
    "",
    " \n ",
]
# Times beyond 99 hours have three digits.
SEGMENTS = st.lists(
    st.builds(
        at,
        st.integers(0, 20) | st.integers(0, 400_000_000),
        st.integers(0, 20) | st.integers(0, 400_000_000),
        st.text("0123:,.->\n\r <&;b\u2028", max_size=30) | st.text(max_size=20) | st.sampled_from(ODD_TEXTS),
    ),
    max_size=8,
)


@given(SEGMENTS)
def test_other_readers_find_the_cues_again(segments: list[TimedText]) -> None:
    found = cues(segments, (), AUDIO_MILLISECONDS)
    assert read_vtt(transcript_formats.vtt(row(*segments))) == found
    assert read_srt(transcript_formats.srt(row(*segments))) == without_arrows(found)


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_no_text_ends_its_cue(text: str) -> None:
    three = row(at(0, 1000, "before"), at(3000, 4000, text), at(359_999_999, 999_999_999, "behind"))
    found = cues(three.segments or (), (), AUDIO_MILLISECONDS)
    assert len(found) == 2 + bool(text.strip())
    assert read_vtt(transcript_formats.vtt(three)) == found
    assert read_srt(transcript_formats.srt(three)) == without_arrows(found)
    assert transcript_formats.srt(three).count(b"-->") == transcript_formats.vtt(three).count(b"-->") == len(found)


def test_words_make_cues_where_there_are_no_segments() -> None:
    words = row().model_copy(update={"segments": None, "words": (at(0, 900, "one"), at(5000, 5900, "two"))})
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
        "audio_milliseconds": AUDIO_MILLISECONDS,
        "segments": [{"start_milliseconds": 0, "end_milliseconds": 1500, "text": "Grüße"}],
    }
