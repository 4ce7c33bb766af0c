"""Subtitles that a person can read, whatever the model's times are."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_api.rows import TimedText
from voxfleet_api.subtitle_cues import (
    LINE_COLUMNS,
    LONGEST_MILLISECONDS,
    SHORTEST_MILLISECONDS,
    Cue,
    cues,
)


def at(start: int, end: int, text: str) -> TimedText:
    return TimedText(start_milliseconds=start, end_milliseconds=end, text=text)


def evenly(text: str, start: int, end: int) -> list[TimedText]:
    words = text.split()
    step = (end - start) // len(words)
    return [at(start + number * step, start + (number + 1) * step, word) for number, word in enumerate(words)]


TIMES = st.integers(0, 30) | st.integers(0, 60_000)
TEXTS = (
    st.text("ab .,?!\n\0\u2028\u200b", max_size=120)
    | st.text("ab漢字、。 ", max_size=80)
    | st.text(max_size=30)
    | st.text("x\u0301", min_size=50, max_size=150)
)
SEGMENTS = st.lists(st.builds(at, TIMES, TIMES, TEXTS), max_size=12)


@st.composite
def transcripts(draw: st.DrawFn) -> tuple[list[TimedText], list[TimedText]]:
    """Segments, and for some of them their words with any times."""
    segments = draw(SEGMENTS)
    words = [
        at(draw(TIMES), draw(TIMES), word)
        for segment in segments
        if draw(st.booleans())
        for word in segment.text.split()[: draw(st.integers(0, 40))]
    ]
    return segments, words


def letters(texts: list[str]) -> list[str]:
    return sorted("".join("".join(texts).replace("\0", "\ufffd").split()))


@given(transcripts(), st.integers(0, 60_000))
def test_any_transcript_makes_cues_that_can_be_read(
    transcript: tuple[list[TimedText], list[TimedText]], audio_milliseconds: int
) -> None:
    segments, words = transcript
    found = cues(segments, words, audio_milliseconds)
    assert letters([cue.text for cue in found]) == letters([segment.text for segment in segments])
    for cue in found:
        lines = cue.text.split("\n")
        assert 1 <= len(lines) <= 2 and all(line and not line.isspace() for line in lines)
        assert all(len(line) <= LINE_COLUMNS for line in lines if line.isascii())
        assert cue.start_milliseconds >= 0 and cue.end_milliseconds <= max(audio_milliseconds, len(found))
        shown = cue.end_milliseconds - cue.start_milliseconds
        shortest = min(SHORTEST_MILLISECONDS, max(1, audio_milliseconds // len(found)))
        assert shortest <= shown <= LONGEST_MILLISECONDS
    assert all(first.end_milliseconds <= second.start_milliseconds for first, second in pairwise(found))


@given(st.lists(st.sampled_from(["a", "word", "sentence.", "clause,", "extraordinarily"]), min_size=1, max_size=80))
def test_words_stay_in_their_order_and_keep_their_spaces(words: list[str]) -> None:
    text = " ".join(words)
    timed = evenly(text, 0, 300 * len(words))
    for segments, known in (([at(0, 300 * len(words), text)], timed), (timed, []), (timed, timed)):
        assert " ".join(cue.text for cue in cues(segments, known, 60_000)).split() == words


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        pytest.param([at(0, 1500, "Hello.")], [Cue(0, 1500, "Hello.")], id="as it is"),
        pytest.param([at(2000, 2001, "Yes.")], [Cue(2000, 2833, "Yes.")], id="a millisecond is lengthened"),
        pytest.param([at(8990, 9000, "Yes.")], [Cue(8167, 9000, "Yes.")], id="at the end it begins earlier"),
        pytest.param([at(0, 9000, "Hm.")], [Cue(0, 7000, "Hm.")], id="not longer than it may be"),
        pytest.param(
            [at(0, 300, "Yes."), at(300, 900, "No.")], [Cue(0, 900, "Yes. No.")], id="two that are too short together"
        ),
        pytest.param(
            [at(0, 3000, "It was late."), at(2000, 4000, "So we went home.")],
            [Cue(0, 2000, "It was late."), Cue(2000, 4000, "So we went home.")],
            id="an overlap ends where the next begins",
        ),
        pytest.param(
            [at(0, 3000, "and then we all"), at(1500, 4500, "no we did not")],
            [Cue(0, 1500, "and then we all"), Cue(1500, 4500, "no we did not")],
            id="two who speak at once",
        ),
        pytest.param(
            [at(0, 6000, "it was late and"), at(2000, 2300, "yes"), at(3500, 5000, "cold")],
            [Cue(0, 2000, "it was late and"), Cue(2000, 2833, "yes"), Cue(3500, 5000, "cold")],
            id="one who speaks on while others say something",
        ),
        pytest.param(
            [at(1000, 1400, "yes"), at(1000, 1400, "no")],
            [Cue(1000, 1833, "yes"), Cue(1833, 2666, "no")],
            id="two at the same moment",
        ),
        pytest.param(
            [at(0, 2000, "and then we all"), at(2000, 4000, "went home.")],
            [Cue(0, 4000, "and then we all went home.")],
            id="a sentence that a window cuts",
        ),
        pytest.param(
            [at(0, 2000, "one two three"), at(5000, 6000, "four")],
            [Cue(0, 2000, "one two three"), Cue(5000, 6000, "four")],
            id="not across a pause",
        ),
        pytest.param(
            [at(0, 3000, "漢" * 30)], [Cue(0, 3000, "漢" * 21 + "\n" + "漢" * 9)], id="wide characters count twice"
        ),
    ],
)
def test_times_and_breaks(segments: list[TimedText], expected: list[Cue]) -> None:
    assert cues(segments, (), 9000) == expected


def test_two_who_speak_at_once_keep_their_words_apart() -> None:
    first, second = evenly("and then we all", 0, 4000), evenly("no we did not", 1500, 3500)
    found = cues([at(0, 4000, "and then we all"), at(1500, 3500, "no we did not")], [*first, *second], 9000)
    assert [cue.text for cue in found] == ["and then we all", "no we did not"]


LONG = (
    "Ask not what your country can do for you, ask what you can do for your country, my fellow citizens of the world,"
    " and of all that we can do together."
)


def test_a_long_segment_breaks_where_its_words_are_and_at_commas() -> None:
    words = [*evenly(LONG[:41], 0, 2000), *evenly(LONG[41:], 6000, 12_000)]
    found = cues([at(0, 12_000, LONG)], words, 12_000)
    assert next(cue.text.replace("\n", " ") for cue in found) == LONG[:41].strip()
    assert (found[0].start_milliseconds, found[0].end_milliseconds, found[1].start_milliseconds) == (0, 1998, 6000)


def test_a_long_segment_without_words_is_cut_by_its_length() -> None:
    found = cues([at(0, 12_000, LONG)], (), 12_000)
    assert len(found) >= 2 and found[0].text.endswith(",")
    share = len(found[0].text) / len(LONG)
    assert abs(found[0].end_milliseconds - 12_000 * share) < 200


def test_words_that_are_not_those_of_the_text_are_not_used() -> None:
    other = [at(0, 100, "other"), at(100, 200, "words")]
    assert cues([at(1000, 3000, "one two")], other, 9000) == [Cue(1000, 3000, "one two")]
