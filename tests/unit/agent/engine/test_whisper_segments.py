"""Of Whisper's two times of a segment, the written ones are believed where the words lie apart from them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from voxfleet_agent.engine.completeness import shortfall
from voxfleet_agent.engine.transcription_families import TRANSCRIPTION_FAMILIES
from voxfleet_agent.engine.transcripts import Transcript, read_output
from voxfleet_agent.engine.unspoken_text import unspoken
from voxfleet_agent.engine.whisper_segments import APART_MILLISECONDS, with_written_times

BEGIN = 1000
"""The token of the time 0; lower ones are words."""
APART = APART_MILLISECONDS / 1000
WHISPER = TRANSCRIPTION_FAMILIES["whisper"]


def segment(
    seek: int, written: tuple[float, ...], *words: tuple[str, float, float], tokens: object = None
) -> dict[str, object]:
    """As mlx-audio returns it: its own times are those of its words."""
    stamps = [BEGIN + round(50 * second) - seek // 2 for second in written]
    return {
        "text": "".join(word for word, _, _ in words),
        "seek": seek,
        "start": words[0][1],
        "end": words[-1][2],
        "tokens": [*stamps[:1], 7, 8, 9, *stamps[1:]] if tokens is None else tokens,
        "words": [{"word": word, "start": start, "end": end} for word, start, end in words],
    }


# Whisper tiny.en of a LibriVox line with 30 s of silence behind its fifth word, which is heard at 0.28 to 1.32 s.
RECORDED = (
    segment(
        0,
        (0.0, 2.0),
        (" He", 19.70, 21.10),
        (" might", 21.10, 21.36),
        (" even", 21.36, 21.38),
        (" have", 21.38, 23.90),
        (" been", 23.90, 23.90),
    ),
    segment(3000, (31.0, 33.0), (" Made", 30.46, 31.78), (" Amyobole", 31.78, 32.44), (" himself", 32.44, 32.98)),
)
SPEECH = np.zeros(33 * 50, dtype=bool)
for first, last in ((0.28, 1.04), (1.12, 1.32), (31.42, 31.64), (31.66, 32.06), (32.10, 32.80)):
    SPEECH[round(first * 50) : round(last * 50)] = True


def read(*segments: object) -> Transcript:
    output = SimpleNamespace(text=" ".join(str(part["text"]) for part in RECORDED), segments=list(segments))
    return read_output(output, WHISPER, BEGIN)


def test_a_sentence_aligned_with_the_silence_behind_it_stands_where_it_was_written_and_is_complete() -> None:
    transcript = read(*RECORDED)
    assert transcript.segments is not None and transcript.words is not None
    assert [part.start_milliseconds for part in transcript.segments] == [0, 30_460]
    assert [(word.text, word.start_milliseconds, word.end_milliseconds) for word in transcript.words[:6]] == [
        ("He", 0, 211),
        ("might", 211, 737),
        ("even", 737, 1158),
        ("have", 1158, 1579),
        ("been", 1579, 2000),
        ("Made", 30_460, 31_780),
    ]
    assert shortfall(transcript, SPEECH, 90) is None and unspoken(transcript, SPEECH) == ()


def test_speech_that_is_left_out_is_missed_as_before() -> None:
    assert "cover" in (shortfall(read(RECORDED[1]), SPEECH, 90) or "")


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(RECORDED[1], id="words at their times"),
        pytest.param(segment(0, (2.0, 3.0), (" a", 0.9, 2.0 - APART)), id="a little early"),
        pytest.param(segment(0, (2.0, 3.0), (" a", 3.0 + APART, 4.0)), id="a little late"),
        pytest.param(segment(0, (2.0, 3.0), (" a", 0.0, 1.0), (" b", 9.0, 9.5)), id="words around the times"),
        pytest.param(segment(0, (2.0,), (" a", 8.0, 9.0)), id="one written time"),
        pytest.param(segment(0, (2.0, 2.0), (" a", 8.0, 9.0)), id="no length"),
        pytest.param(segment(0, (3.0, 2.0), (" a", 8.0, 9.0)), id="back in time"),
        pytest.param(segment(0, (2.0, 3.0), (" a", 8.0, float("nan"))), id="no number"),
        pytest.param(segment(0, (), (" a", 8.0, 9.0), tokens="none"), id="no tokens"),
        pytest.param({"text": "a", "start": 8.0, "end": 9.0}, id="nothing else"),
        pytest.param({"text": "a", "seek": 0, "tokens": [BEGIN, 7, BEGIN + 9], "words": ["a"]}, id="other words"),
        pytest.param(segment(0, (2.0, 3.0), ("", 8.0, 9.0)), id="empty words"),
        pytest.param("a", id="no segment"),
    ],
)
def test_all_others_are_kept(kept: object) -> None:
    assert with_written_times([kept], BEGIN) == [kept]


@pytest.mark.parametrize(("start", "end"), [(0.2, 1.4), (3.6, 4.0)])
def test_words_before_or_behind_the_written_times_are_moved(start: float, end: float) -> None:
    (moved,) = with_written_times([segment(100, (2.0, 3.0), (" a", start, end))], BEGIN)
    assert isinstance(moved, dict) and (moved["start"], moved["end"]) == (2.0, 3.0)
    assert moved["words"] == [{"word": " a", "start": 2.0, "end": 3.0}]
    assert moved["tokens"] == [BEGIN + 50, 7, 8, 9, BEGIN + 100]


def test_words_stay_words_where_every_segment_is_moved() -> None:
    """A contract that asks for the times of words would otherwise refuse the clip."""
    words = read(RECORDED[0]).words
    assert words is not None and [word.text for word in words] == ["He", "might", "even", "have", "been"]
