"""How far two texts are from each other. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple


class WordChanges(NamedTuple):
    """The least that turns one text into another."""

    errors: int
    replaced: int = 0
    missing: int = 0
    """Of the first text, in the second."""
    added: int = 0


def word_changes(reference: Sequence[str], other: Sequence[str]) -> WordChanges:
    """Least number of words to insert, delete or replace that turn one text into the other (Levenshtein)."""
    reference, other = _trimmed(reference, other)
    previous = [WordChanges(column, added=column) for column in range(len(other) + 1)]
    for row, expected in enumerate(reference, start=1):
        current = [WordChanges(row, missing=row)]
        for column, found in enumerate(other, start=1):
            kept, without, before = previous[column - 1], previous[column], current[column - 1]
            if expected == found:
                current.append(kept)
                continue
            best = min(kept.errors, without.errors, before.errors) + 1
            if best == kept.errors + 1:
                current.append(kept._replace(errors=best, replaced=kept.replaced + 1))
            elif best == without.errors + 1:
                current.append(without._replace(errors=best, missing=without.missing + 1))
            else:
                current.append(before._replace(errors=best, added=before.added + 1))
        previous = current
    return previous[-1]


def word_error_percent(reference: str, other: str) -> float:
    """Word errors in percent of the reference's words; of one word when it has none."""
    words = reference.split()
    return 100 * word_changes(words, other.split()).errors / max(1, len(words))


def described(reference: str, other: str) -> str:
    """What differs between two texts, without a word of them."""
    if _plain(reference) == _plain(other):
        return "only case, punctuation or spaces"
    words = reference.split()
    found = word_changes(words, other.split())
    parts = {"replaced": found.replaced, "missing": found.missing, "added": found.added}
    shown = ", ".join(f"{count} {name}" for name, count in parts.items() if count)
    return f"{shown} of {len(words)} word{'s' * (len(words) != 1)}"


def _plain(text: str) -> list[str]:
    return re.sub(r"[^\w\s]", "", text).casefold().split()


def _trimmed(a: Sequence[str], b: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Without what both begin and end with: transcripts are long, and most of them differ in a few places."""
    shortest = min(len(a), len(b))
    start = next((place for place in range(shortest) if a[place] != b[place]), shortest)
    a, b = a[start:], b[start:]
    shortest -= start
    end = next((place for place in range(shortest) if a[-1 - place] != b[-1 - place]), shortest)
    return a[: len(a) - end], b[: len(b) - end]
