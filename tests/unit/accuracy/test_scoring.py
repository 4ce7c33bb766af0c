"""Word errors, and where they lie in time."""

from __future__ import annotations

from voxfleet_accuracy.heard import TimedWord
from voxfleet_accuracy.scoring import (
    Token,
    WordErrors,
    around_gap,
    count_near,
    equal_pairs,
    error_seconds,
    part_starts,
    said_tokens,
    start_differences,
    starts_by,
    time_faults,
    tokens_of,
    word_errors,
)
from voxfleet_accuracy.sounds import SpokenPart


def plain(text: str) -> str:
    return text.lower().replace(".", "").replace("i'd", "i would")


def tokens(text: str, *starts: float) -> list[Token]:
    return [Token(word, start) for word, start in zip(text.split(), starts, strict=True)]


def test_errors_are_counted_over_normal_forms() -> None:
    found = word_errors("One two three four.", "one TWO tree four five", plain)
    assert found == WordErrors(words=4, substitutions=1, deletions=0, insertions=1)
    assert found.percent == 50.0


def test_no_text_misses_every_word_and_sums_weigh_words() -> None:
    missed = word_errors("one two three", "", plain)
    assert missed == WordErrors(words=3, deletions=3)
    assert (missed + word_errors("one", "one", plain)).percent == 75.0


def test_words_added_where_nothing_is_said_are_insertions_and_no_rate() -> None:
    found = word_errors("", "thank you", plain)
    assert (found.words, found.insertions, found.percent) == (0, 2, 0.0)


def test_a_word_that_becomes_two_gives_both_its_start() -> None:
    assert tokens_of([TimedWord("I'd", 1.5, 1.8)], plain) == (Token("i", 1.5), Token("would", 1.5))


def test_said_words_lie_within_their_part_as_their_letters_run() -> None:
    said = said_tokens([SpokenPart("a bbb ccc", 10.0, 19.0)], plain)
    assert [(token.text, token.start_seconds) for token in said] == [("a", 10.0), ("bbb", 12.0), ("ccc", 16.0)]


def test_an_error_has_the_time_of_what_was_said_or_of_what_was_added() -> None:
    said = tokens("one two three four", 1, 2, 3, 4)
    heard = tokens("one two tree four five", 1, 2, 3.5, 4, 9)
    assert error_seconds(said, heard) == [3, 9]
    assert error_seconds(said, tokens("one four", 1, 4)) == [2, 3]


def test_only_errors_within_a_second_of_a_border_count() -> None:
    assert count_near([1.0, 10.9, 11.2, 59.0], [10.0, 60.0], 1.0) == 2
    assert count_near([1.0], [], 1.0) == 0


def test_starts_are_compared_of_words_that_both_heard() -> None:
    mine, theirs = tokens("one two three", 1.0, 2.0, 3.0), tokens("one deux three", 1.25, 2.0, 2.5)
    assert equal_pairs(mine, theirs) == [(0, 0), (2, 2)]
    assert starts_by(mine, theirs) == {0: 1.25, 2: 2.5}
    assert start_differences(mine, starts_by(mine, theirs)) == [0.25, 0.5]


def test_known_starts_are_those_of_the_first_word_of_each_part() -> None:
    parts = [SpokenPart("one two", 1.0, 2.0), SpokenPart("three four", 5.0, 6.0)]
    heard = tokens("well one two tree four", 0.5, 1.1, 1.5, 5.0, 5.5)
    assert part_starts(parts, heard, plain) == {1: 1.0}
    assert part_starts((), heard, plain) == {}


def test_times_that_run_back_overlap_end_early_or_leave_the_audio_are_faults() -> None:
    good = [TimedWord("a", 0.0, 1.0), TimedWord("b", 1.0, 2.0)]
    assert time_faults(good, 2.0) == []
    bad = [TimedWord("a", 1.0, 1.5), TimedWord("b", 0.5, 0.4), TimedWord("c", 1.3, 2.5)]
    assert time_faults(bad, 2.0) == [
        "1 begins at 0.500 s, before 1.000 s, where the last one began",
        "1 ends at 0.400 s, before it begins at 0.500 s",
        "2 begins at 1.300 s, before 1.500 s, where the last one ended",
        "2 ends at 2.500 s, behind the audio's 2.000 s",
    ]


def test_a_word_lies_behind_a_gap_when_its_middle_does_and_begins_there_at_the_earliest() -> None:
    words = [TimedWord("one", 0.0, 1.0), TimedWord("two", 1.0, 2.0), TimedWord("three", 2.0, 3.0)]
    assert around_gap(words, (1.25, 31.25)) == (
        TimedWord("one", 0.0, 1.0),
        TimedWord("two", 31.25, 32.0),
        TimedWord("three", 32.0, 33.0),
    )
