"""Two runs with the same words at other times are not the same."""

from __future__ import annotations

import pytest

from voxfleet_agent.finished_runs.comparison import RowPair, SetupDifferences, compare
from voxfleet_agent.finished_runs.tables import pairs_json
from voxfleet_api.failures import FailureClass
from voxfleet_api.rows import ClipStatus, ResultRow, TimedText


def at(start: int, end: int, text: str) -> TimedText:
    return TimedText(start_milliseconds=start, end_milliseconds=end, text=text)


SEGMENTS = (at(0, 900, "yes and"), at(1000, 1900, "no"))
WORDS = (at(0, 300, "yes"), at(400, 900, "and"), at(1000, 1900, "no"))
ROW = ResultRow(index=0, custom_id="a", status=ClipStatus.SUCCEEDED, text="yes and no", segments=SEGMENTS, words=WORDS)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"segments": (SEGMENTS[0], at(1020, 1900, "no"))}, "times of 1 of 2 segments, by up to 20 ms"),
        (
            {"words": (at(0, 310, "yes"), WORDS[1], at(1040, 1900, "no"))},
            "times of 2 of 3 words, by up to 40 ms",
        ),
        ({"words": WORDS[:2]}, "other words (3 and 2)"),
        ({"segments": None, "words": None}, "segments with times in A alone; words with times in A alone"),
    ],
)
def test_other_times_are_another_result(changes: dict[str, object], what: str) -> None:
    other = ROW.model_copy(update=changes)
    pair = RowPair(ROW, other)
    assert pair.failure_class is FailureClass.NONDETERMINISTIC_REPLAY
    assert pairs_json([pair], show_text=False)[0]["what"] == what
    (difference,) = compare([ROW], [other]).differences
    assert difference.what == what


def test_of_other_words_the_times_are_not_told_too() -> None:
    (difference,) = compare([ROW], [ROW.model_copy(update={"text": "yes", "segments": SEGMENTS[:1]})]).differences
    assert difference.what == "2 missing of 3 words"


@pytest.mark.parametrize(
    ("asked", "other", "same"),
    [
        ({}, {"words": None}, False),
        ({"contract.output.timestamps": ("Word", "Segment")}, {"words": None}, True),
        ({"contract.output.timestamps": ("Word", "Segment")}, {"words": None, "segments": SEGMENTS[:1]}, False),
        ({"contract.output.timestamps": ("Word", "None")}, {"words": None, "segments": None}, True),
    ],
)
def test_runs_with_other_contracts_are_compared_in_what_both_ask_for(
    asked: SetupDifferences, other: dict[str, object], same: bool
) -> None:
    assert compare([ROW], [ROW.model_copy(update=other)], settings=asked).same is same
