"""Times of models that are odd: each segment is mended for itself, none takes the times of the others with it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.engine.completeness import shortfall
from voxfleet_agent.engine.reported_times import ReportedText, in_order, seconds, spread
from voxfleet_agent.engine.transcription_families import TRANSCRIPTION_FAMILIES
from voxfleet_agent.engine.transcripts import Transcript, budget_is_spent, read_output
from voxfleet_api.rows import TimedText
from voxfleet_api.time_shares import shares

WHISPER = TRANSCRIPTION_FAMILIES["whisper"]
DIARIZING = TRANSCRIPTION_FAMILIES["vibevoice_asr"]


@dataclass
class Output:
    text: str
    segments: list[object] = field(default_factory=list)


def segment(text: str, start: object, end: object, *words: tuple[str, object, object]) -> dict[str, object]:
    listed = [{"word": word, "start": begin, "end": finish} for word, begin, finish in words]
    return {"text": text, "start": start, "end": end} | ({"words": listed} if words else {})


def read(*segments: object) -> Transcript:
    texts = [part["text"] if isinstance(part, dict) else part.text for part in segments]  # type: ignore[attr-defined]
    return read_output(Output("".join(map(str, texts)), list(segments)), WHISPER)


def spans(timed: tuple[TimedText, ...] | None) -> list[tuple[int, int, str]]:
    return [(part.start_milliseconds, part.end_milliseconds, part.text) for part in timed or ()]


# Whisper tiny.en, once in 395 s of speech: a segment that ends with its window's first moment, and the window again.
RECORDED = (
    segment(" one two three four five", 229.12, 240.12),
    segment(" six seven eight nine ten", 240.12, 252.24),
    segment(" and so on for a while now", 252.24, 229.12),
    segment(" six seven", 229.12, 233.12),
    segment(" more of it all", 258.0, 266.0),
)


def test_one_odd_segment_leaves_the_others_their_times() -> None:
    assert spans(read(*RECORDED).segments) == [
        (229_120, 240_120, "one two three four five"),
        (240_120, 252_240, "six seven eight nine ten"),
        (252_240, 258_000, "and so on for a while now"),
        (258_000, 258_000, "six seven"),
        (258_000, 266_000, "more of it all"),
    ]


def test_speech_without_text_is_missed_beside_an_odd_segment() -> None:
    speech = np.zeros(30_000, dtype=bool)
    speech[229 * 50 : 290 * 50] = True
    assert "cover" in (shortfall(read(*RECORDED), speech, 90) or "")
    speech[268 * 50 :] = False
    assert shortfall(read(*RECORDED), speech, 90) is None


@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        pytest.param(segment(" odd", 1.0, 1.0), (1000, 1500), id="no length"),
        pytest.param(segment(" odd", 1.0, None), (1000, 1500), id="no end"),
        pytest.param({"text": " odd", "start": 1.0}, (1000, 1500), id="no key"),
        pytest.param(segment(" odd", math.nan, math.nan), (1000, 1500), id="no number"),
        pytest.param(segment(" odd", -math.inf, math.inf), (1000, 1500), id="infinite"),
        pytest.param(segment(" odd", "1.0", "2.0"), (1000, 1500), id="texts"),
        pytest.param(segment(" odd", 1.0, -3.0), (1000, 1500), id="negative"),
        pytest.param(segment(" odd", 1.0, 1.0, (" odd", 1.2, 1.4)), (1200, 1400), id="its words know better"),
        pytest.param(segment(" odd", 700.0, 701.0), (1000, 1500), id="far away"),
        pytest.param(SimpleNamespace(text=" odd", start=1.0, end=1.5), (1000, 1500), id="an object"),
        pytest.param(segment(" odd", np.float32(1.0), np.float64(1.5)), (1000, 1500), id="numpy"),
    ],
)
def test_odd_times_follow_from_their_neighbours(odd: object, expected: tuple[int, int]) -> None:
    timed = read(segment(" one", 0.5, 1.0), odd, segment(" two", 2.0, 2.5)).segments
    assert timed is not None and spans(timed)[1] == (*expected, "odd")
    assert spans(timed)[0] == (500, 1000, "one") and spans(timed)[2] == (2000, 2500, "two")


def test_an_estimated_end_claims_no_more_speech_than_its_text_explains() -> None:
    slow = read(segment(" a", 0.0, 30.0), segment(" odd", 30.0, 7.0))
    assert spans(slow.segments)[1] == (30_000, 30_780, "odd")


@pytest.mark.parametrize(
    "segments",
    [
        [segment(" one two", None, None), segment(" three", math.nan, 2.0)],
        [segment(" one two", True, 7)],
        [segment(" one two", None, 1.0)],
        ["one two"],
        [],
    ],
)
def test_without_a_usable_time_there_is_none(segments: list[object]) -> None:
    assert read_output(Output("one two", segments), WHISPER) == Transcript("one two")


def test_speakers_may_overlap_where_a_family_tells_them_apart() -> None:
    output = Output("x", [segment("long", 0, 9), segment("in between", 4, 5)])
    assert spans(read_output(output, DIARIZING).segments) == [(0, 9000, "long"), (4000, 5000, "in between")]
    assert spans(read_output(output, WHISPER).segments)[0] == (0, 4000, "long")


A = (100, 200, "a")


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([(" open", 0.1, 0.3), ("-source", 0.3, 0.8)], [(100, 800, "open-source")]),
        ([(" rock", 0.1, 0.3), ("'n'", 0.3, 0.4), ("roll", 0.4, 0.8)], [(100, 800, "rock'n'roll")]),
        ([(" one ", 0.1, 0.3), ("two", 0.3, 0.8)], [(100, 300, "one"), (300, 800, "two")]),
        ([(" late", 0.5, 0.3), (" on", 0.4, 0.8)], [(0, 400, "late"), (400, 800, "on")]),
        ([(" a", 0.1, 0.2), (" b", math.nan, 0.4), (" c", 0.5, 0.6)], [A, (200, 300, "b"), (500, 600, "c")]),
        ([("漢", 0.1, 0.2), ("字", 0.2, 0.4), ("。", 0.4, 0.4)], [(100, 200, "漢"), (200, 400, "字。")]),
    ],
)  # fmt: skip
def test_pieces_become_the_words_that_their_spaces_say(
    pieces: list[tuple[str, float, float]], words: list[tuple[int, int, str]]
) -> None:
    text = "".join(piece for piece, _, _ in pieces)
    assert spans(read(segment(text, 0.1, 0.8, *pieces)).words) == words


def test_words_without_any_spaces_are_no_pieces() -> None:
    assert spans(read(segment("one two", 0.0, 1.0, ("one", 0.0, 0.5), ("two", 0.5, 1.0))).words) == [
        (0, 500, "one"),
        (500, 1000, "two"),
    ]


def test_segments_without_words_have_their_time_spread_where_others_have_words() -> None:
    worded = segment(" one", 0.0, 0.5, (" one", 0.1, 0.4))
    unreadable = segment(" six", 4.0, 5.0) | {"words": [{"start": 4.0, "end": 5.0}]}
    found = read(worded, segment(" two four", 1.0, 1.8), unreadable)
    assert spans(found.words) == [(100, 400, "one"), (1000, 1343, "two"), (1343, 1800, "four"), (4000, 5000, "six")]
    assert read(segment(" two three", 1.0, 1.8)).words is None


def test_parts_share_a_time_by_their_length_to_the_nearest_millisecond() -> None:
    assert spans(tuple(shares(["six", "four"], 1000, 2000))) == [(1000, 1429, "six"), (1429, 2000, "four")]
    assert spans(tuple(shares(["a", "b"], 2000, 1000))) == [(2000, 2000, "a"), (2000, 2000, "b")]
    whole = TimedText(start_milliseconds=1000, end_milliseconds=2000, text="six four")
    assert spread(whole) == [ReportedText("six", 1.0, 1.429), ReportedText("four", 1.429, 2.0)]


def test_budgets_are_read_from_objects_too() -> None:
    assert budget_is_spent(Output("x", [SimpleNamespace(tokens=[1] * 8)]), 8)


TIMES = st.none() | st.floats(-10, 100) | st.just(math.nan) | st.just(math.inf)


@given(st.lists(st.tuples(st.text(max_size=9), TIMES, TIMES), max_size=12), st.booleans())
def test_times_never_go_back(parts: list[tuple[str, float | None, float | None]], overlapping: bool) -> None:
    reported = [ReportedText(text, seconds(start), seconds(end)) for text, start, end in parts]
    timed = in_order(reported, overlapping=overlapping)
    assert [part.text for part in timed] == [text.strip() for text, _, _ in parts]
    assert all(0 <= part.start_milliseconds <= part.end_milliseconds for part in timed)
    for one, two in pairwise(timed):
        assert one.start_milliseconds <= two.start_milliseconds
        assert overlapping or one.end_milliseconds <= two.start_milliseconds
