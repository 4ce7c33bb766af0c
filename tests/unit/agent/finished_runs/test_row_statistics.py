"""The statistics of a run, and the differences between two runs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.finished_runs.comparison import RowPair, compare
from voxfleet_agent.finished_runs.row_statistics import row_statistics
from voxfleet_api.failures import FailureClass
from voxfleet_api.rows import ClipStatus, ResultRow, RowError, SynthesizedAudioFile, Timings
from voxfleet_shared.text_difference import MAX_WORDS, WordChanges, text_difference, word_changes

WORDS = st.lists(st.sampled_from("abc"), max_size=6)


def row(index: int, text: str | None = "yes", name: str | None = None, **changes: object) -> ResultRow:
    made = ResultRow(
        index=index,
        custom_id=name or f"clip-{index}",
        status=ClipStatus.SUCCEEDED,
        text=text,
        audio_milliseconds=1000,
        timings=Timings(fetch_milliseconds=1, infer_milliseconds=10 * (index + 1)),
        batch_size=2,
        chip="M4",
        versions={"mlx": "0.32.4"},
    )
    return made.model_copy(update=changes)


def bad(index: int, failure_class: FailureClass = FailureClass.DECODE_ERROR) -> ResultRow:
    error = RowError(failure_class=failure_class, reason="why")
    return row(index, text=None, status=ClipStatus.QUARANTINED, error=error, timings=None)


def test_a_batch_s_inference_is_counted_once() -> None:
    found = row_statistics([row(0), row(1), bad(2)])
    assert found.infer_milliseconds == (10 + 20) // 2
    assert (found.audio_milliseconds, found.classes) == (2000, {"DecodeError": 1})
    assert found.spreads["latency"].max == 21 and found.spreads["fetch"].p50 == 1
    waited = row(0, timings=Timings(fetch_milliseconds=1, wait_milliseconds=500, infer_milliseconds=20))
    spreads = row_statistics([waited]).spreads
    assert {name: spreads[name].max for name in ("own", "wait", "latency")} == {"own": 21, "wait": 500, "latency": 521}
    assert (found.counts.succeeded, found.counts.quarantined) == (2, 1)


def test_no_clip_with_a_result_has_no_figures() -> None:
    found = row_statistics([bad(0)])
    assert found.spreads == {} and found.audio_seconds_per_infer_second is None and found.real_time_factor is None


def changes_of(reference: Sequence[str], other: Sequence[str]) -> WordChanges:
    found = word_changes(reference, other)
    assert found is not None
    return found


@given(WORDS, WORDS)
def test_word_changes_count_edits(reference: list[str], other: list[str]) -> None:
    found = changes_of(reference, other)
    assert (found.errors == 0) == (reference == other)
    assert found.errors == changes_of(other, reference).errors == found.replaced + found.missing + found.added
    assert changes_of(other, reference) == found._replace(missing=found.added, added=found.missing)
    assert len(reference) - found.missing + found.added == len(other) and min(found) >= 0
    assert found.errors == least_edits(reference, other)


def least_edits(a: Sequence[str], b: Sequence[str]) -> int:
    if not a or not b:
        return len(a) + len(b)
    if a[0] == b[0]:
        return least_edits(a[1:], b[1:])
    return 1 + min(least_edits(a[1:], b), least_edits(a, b[1:]), least_edits(a[1:], b[1:]))


def test_word_changes_of_known_texts() -> None:
    assert word_changes(["a", "b", "c", "d", "e"], ["x", "b", "d", "e", "f"]) == WordChanges(
        3, replaced=1, missing=1, added=1
    )
    assert word_changes(list("abbc"), list("abc")) == WordChanges(1, missing=1)
    assert word_changes(["c", "d"], ["a", "c"]) == WordChanges(2, replaced=2)  # not one missing and one added
    assert text_difference("one two three", "one too").what == "1 replaced, 1 missing of 3 words"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("One, two.", "one two"),
        ("\u201eOne\u201c (two)\u2026", "one  two"),
        ('he said "yes."', "He said yes"),
        ("caf\u00e9", "Cafe\u0301"),
        ("\u597d\u3002", "\u597d"),
    ],
)
def test_punctuation_case_and_spaces_do_not_change_the_words(one: str, other: str) -> None:
    assert text_difference(one, other).what == "only case, punctuation or spaces"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.5 mg", "15 mg"),
        (".5 mg", "5 mg"),
        ("-5", "5"),
        ("$5", "\u20ac5"),
        ('5"', "5'"),
        ("\u0915\u093e\u092e", "\u0915\u092e"),
        ("we're", "were"),
    ],
)
def test_a_change_of_meaning_is_a_word_error(one: str, other: str) -> None:
    assert "1 replaced of" in text_difference(one, other).what


def test_a_long_text_is_compared_and_a_too_long_one_only_reported_as_different() -> None:
    reference = [f"a{number}" for number in range(MAX_WORDS + 1)]
    other = [f"b{number}" for number in range(MAX_WORDS + 1)]
    assert word_changes(reference[:2000], other[:1999]) == WordChanges(2000, replaced=1999, missing=1)
    assert text_difference(" ".join(reference), " ".join(other)) == (None, "too long to compare word by word")
    assert text_difference(" ".join(reference), " ".join([*reference[:-1], "b"])).what.startswith("1 replaced")


def test_word_errors_of_known_texts() -> None:
    assert text_difference("one two three four", "one too three").word_error_percent == 50
    assert text_difference("", "one").word_error_percent == 100
    assert text_difference("one two", "one two").word_error_percent == 0


def test_equal_runs_are_the_same_whatever_their_times() -> None:
    slower = [row(0, timings=Timings(infer_milliseconds=99)), bad(1)]
    found = compare([row(0), bad(1)], slower)
    assert found.same and not found.machines


def test_differences_are_listed() -> None:
    a = [row(0, "one two"), row(1), bad(2), row(3, name="gone")]
    b = [row(0, "one too"), bad(1), bad(2, FailureClass.CONTRACT_VIOLATION), row(3, name="came", chip="M2")]
    found = compare(a, b)
    assert not found.same
    assert [(item.index, item.word_error_percent) for item in found.differences] == [(0, 50), (1, None), (2, None)]
    assert found.differences[2].outcome_b == "quarantined (ContractViolation)"
    assert (found.clips_of_both, found.only_a, found.only_b) == (3, 1, 1)
    assert found.machines == {"chip": (("M4",), ("M2", "M4"))}


def test_differences_are_described_without_any_transcript_text() -> None:
    spoken = SynthesizedAudioFile(
        path="audio/0.wav",
        sha256="a" * 64,
        size_bytes=1,
        container="wav",
        encoding="pcm16",
        sample_rate_hz=24000,
        chunks=1,
        interval_milliseconds=80,
    )
    other = spoken.model_copy(update={"sha256": "b" * 64})
    a = [row(0, "one two"), row(1), row(2, None, audio=spoken), row(3, sha256="c" * 64), bad(4)]
    b = [
        row(0, "one"),
        bad(1),
        row(2, None, audio=other, audio_milliseconds=999),
        row(3, "no", sha256="d" * 64),
        row(4),
    ]
    descriptions = [difference.what for difference in compare(a, b).differences]
    assert descriptions == [
        "1 missing of 2 words",
        "B: why",
        "other audio (1000 and 999 ms)",
        "another input file; 1 replaced of 1 word",
        "A: why",
    ]


def test_failures_of_only_one_run_are_counted_by_class() -> None:
    a = [row(0), bad(1), bad(2), bad(3), row(4, None, status=ClipStatus.NOT_RUN)]
    b = [bad(0, FailureClass.CONTRACT_VIOLATION), row(1), row(2), bad(3), row(4)]
    found = compare(a, b)
    assert found.failed_only_a == {"DecodeError": 2, "not_run": 1}
    assert found.failed_only_b == {"ContractViolation": 1}


def test_a_clip_with_another_result_has_no_failure_class_of_its_own() -> None:
    assert RowPair(row(0), row(0)).failure_class is None
    assert RowPair(row(0), row(0, "other")).failure_class is FailureClass.NONDETERMINISTIC_REPLAY
    assert RowPair(row(0), bad(0)).failure_class is FailureClass.DECODE_ERROR


def test_clips_are_matched_by_id_and_not_by_position() -> None:
    a = [row(0, "one", name="x"), row(1, "two", name="y")]
    b = [row(0, "two", name="y"), row(1, "one", name="x")]
    assert compare(a, b).same
