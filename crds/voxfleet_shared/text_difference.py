"""Measures how far two texts differ, in words. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

MAX_WORDS = 20_000
"""The longest differing part of a text that is compared. This many words take seconds; twice as many take four times as
long."""

_OPENING = "“”„‟‘’‚‛«»‹›「」『』《》〈〉\"'([{¿¡…"
_CLOSING = "“”„‟‘’‚‛«»‹›「」『』《》〈〉)]}.,;:!?…。、！？，；：।॥،؛؟۔"
# Keeps what may belong to a number: the point of .5, the inch mark of 5"
_EDGES = re.compile(rf"^[{re.escape(_OPENING)}]+|(?:[{re.escape(_CLOSING)}]|(?<!\d)[\"'])+$")
_ERROR = 2**32  # the cost of an error; the remainder counts missing words


class WordChanges(NamedTuple):
    """The fewest changes that turn one text into another."""

    errors: int
    replaced: int = 0
    missing: int = 0
    """Words of the first text that the second lacks."""
    added: int = 0


class TextDifference(NamedTuple):
    word_error_percent: float | None
    """Word errors in percent of the first text's words, or of one word when it has none; None: too long to count."""
    what: str
    """The changes in numbers, without any of the text."""


def text_difference(reference: str, other: str) -> TextDifference:
    words = reference.split()
    changes = word_changes(words, other.split())
    percent = None if changes is None else 100 * changes.errors / max(1, len(words))
    if _plain(reference) == _plain(other):
        return TextDifference(percent, "only case, punctuation or spaces")
    if changes is None:
        return TextDifference(None, "too long to compare word by word")
    parts = {"replaced": changes.replaced, "missing": changes.missing, "added": changes.added}
    shown = ", ".join(f"{count} {name}" for name, count in parts.items() if count)
    return TextDifference(percent, f"{shown} of {len(words)} word{'s' * (len(words) != 1)}")


def word_changes(reference: Sequence[str], other: Sequence[str]) -> WordChanges | None:
    """Counts the fewest words to insert, delete or replace that turn one text into the other (Levenshtein).

    Returns None when more than MAX_WORDS words lie between the texts' common beginning and end.
    """
    from rapidfuzz.distance import Levenshtein, Postfix, Prefix  # takes 3 MB, which neither daemon needs

    shortest, longest = sorted((len(reference), len(other)))
    same = min(Prefix.similarity(reference, other) + Postfix.similarity(reference, other), shortest)
    if longest - same > MAX_WORDS:
        return None
    # Levenshtein.editops would return one of several shortest paths, and another one when the texts are swapped.
    cost = Levenshtein.distance(reference, other, weights=(_ERROR, _ERROR + 1, _ERROR))
    errors, missing = divmod(cost, _ERROR)
    added = missing + len(other) - len(reference)
    return WordChanges(errors, replaced=errors - missing - added, missing=missing, added=added)


def _plain(text: str) -> list[str]:
    """Returns the words without the punctuation around them; punctuation inside a word may carry meaning."""
    words = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).split()
    return [plain for word in words if (plain := _EDGES.sub("", word))]
