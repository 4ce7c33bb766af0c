"""Word errors, and where they lie in time. Pure.

Word error rates are jiwer's, over texts that Whisper's English normaliser has brought into one form. Where a word's
time matters, the normaliser is applied word by word, so that each word keeps its time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import jiwer

from voxfleet_accuracy.heard import TimedWord
from voxfleet_accuracy.sounds import SpokenPart

Normalise = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class WordErrors:
    words: int = 0
    """Of what was said."""
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def percent(self) -> float:
        """The word error rate; 0 where nothing was said."""
        return 100 * self.errors / self.words if self.words else 0.0

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.words + other.words,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


def word_errors(said: str, heard: str, normalise: Normalise) -> WordErrors:
    measured = jiwer.process_words(normalise(said), normalise(heard))
    return WordErrors(
        words=measured.hits + measured.substitutions + measured.deletions,
        substitutions=measured.substitutions,
        deletions=measured.deletions,
        insertions=measured.insertions,
    )


@dataclass(frozen=True, slots=True)
class Token:
    """A word in its normal form, and when it begins."""

    text: str
    start_seconds: float


def tokens_of(words: Iterable[TimedWord], normalise: Normalise) -> tuple[Token, ...]:
    """A word that becomes several, such as I'd, gives all of them its start."""
    return tuple(Token(text, word.start_seconds) for word in words for text in normalise(word.text).split())


def said_tokens(parts: Sequence[SpokenPart], normalise: Normalise) -> tuple[Token, ...]:
    """The words of joined texts: a text's first begins when it is first heard, the others as its letters run."""
    return tokens_of((word for part in parts for word in _spread(part)), normalise)


def _spread(part: SpokenPart) -> Iterator[TimedWord]:
    length, position = len(part.text), 0
    seconds_a_letter = (part.end_seconds - part.start_seconds) / max(1, length)
    for word in part.text.split():
        position = part.text.index(word, position)
        start = part.start_seconds + position * seconds_a_letter
        yield TimedWord(word, start, start + len(word) * seconds_a_letter)
        position += len(word)


def equal_pairs(first: Sequence[Token], second: Sequence[Token]) -> list[tuple[int, int]]:
    """The indexes of the words that are the same in both, in order."""
    return [
        (chunk.ref_start_idx + step, chunk.hyp_start_idx + step)
        for chunk in _alignment(first, second)
        if chunk.type == "equal"
        for step in range(chunk.ref_end_idx - chunk.ref_start_idx)
    ]


def error_seconds(said: Sequence[Token], heard: Sequence[Token]) -> list[float]:
    """When each word error happens: where the word was said, or, of an added word, where it was heard."""
    times = []
    for chunk in _alignment(said, heard):
        if chunk.type == "insert":
            times += [heard[index].start_seconds for index in range(chunk.hyp_start_idx, chunk.hyp_end_idx)]
        elif chunk.type != "equal":
            times += [said[index].start_seconds for index in range(chunk.ref_start_idx, chunk.ref_end_idx)]
    return times


def count_near(times_seconds: Iterable[float], borders_seconds: Sequence[float], within_seconds: float) -> int:
    return sum(any(abs(time - border) <= within_seconds for border in borders_seconds) for time in times_seconds)


def starts_by(heard: Sequence[Token], other: Sequence[Token]) -> dict[int, float]:
    """When the words of `heard` begin, by their index, as `other` tells it of those that are the same in both."""
    return {mine: other[theirs].start_seconds for mine, theirs in equal_pairs(heard, other)}


def start_differences(heard: Sequence[Token], starts_seconds: Mapping[int, float]) -> list[float]:
    """Seconds between the starts of words and those that they have in `starts_seconds`, by their index."""
    return [abs(heard[index].start_seconds - start) for index, start in starts_seconds.items()]


def around_gap(words: Iterable[TimedWord], gap_seconds: tuple[float, float]) -> tuple[TimedWord, ...]:
    """The words of a recording as they lie once a gap is put into it. A word lies where its middle does."""
    begins, ends = gap_seconds
    length = ends - begins
    return tuple(
        word
        if (word.start_seconds + word.end_seconds) / 2 < begins
        else TimedWord(word.text, max(word.start_seconds, begins) + length, word.end_seconds + length)
        for word in words
    )


def part_starts(parts: Sequence[SpokenPart], heard: Sequence[Token], normalise: Normalise) -> dict[int, float]:
    """When the first word of each joined text is heard, by its index in `heard`, where it was recognized."""
    said = said_tokens(parts, normalise)
    first_words = set()
    position = 0
    for part in parts:
        first_words.add(position)
        position += len(tokens_of(_spread(part), normalise))
    return {theirs: said[mine].start_seconds for mine, theirs in equal_pairs(said, heard) if mine in first_words}


def time_faults(timed: Sequence[TimedWord], seconds: float) -> list[str]:
    """What is wrong with the times of words or segments, in order, in a take of so many seconds."""
    faults = []
    begun = ended = 0.0
    for index, part in enumerate(timed):
        if part.start_seconds < begun:
            faults.append(
                f"{index} begins at {part.start_seconds:.3f} s, before {begun:.3f} s, where the last one began"
            )
        elif part.start_seconds < ended:
            faults.append(
                f"{index} begins at {part.start_seconds:.3f} s, before {ended:.3f} s, where the last one ended"
            )
        if part.end_seconds < part.start_seconds:
            faults.append(f"{index} ends at {part.end_seconds:.3f} s, before it begins at {part.start_seconds:.3f} s")
        # Lengths are rounded to milliseconds.
        if part.end_seconds > seconds + 0.001:
            faults.append(f"{index} ends at {part.end_seconds:.3f} s, behind the audio's {seconds:.3f} s")
        begun, ended = max(begun, part.start_seconds), max(ended, part.end_seconds)
    return faults


def _alignment(first: Sequence[Token], second: Sequence[Token]) -> list[jiwer.AlignmentChunk]:
    measured = jiwer.process_words(" ".join(token.text for token in first), " ".join(token.text for token in second))
    return measured.alignments[0]
