"""How far two texts are from each other. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def word_errors(reference: Sequence[str], other: Sequence[str]) -> int:
    """Least number of words to insert, delete or replace that turn one text into the other (Levenshtein)."""
    previous = list(range(len(other) + 1))
    for row, expected in enumerate(reference, start=1):
        current = [row]
        for column, found in enumerate(other, start=1):
            replaced = previous[column - 1] + (expected != found)
            current.append(min(previous[column] + 1, current[column - 1] + 1, replaced))
        previous = current
    return previous[-1]


def word_error_percent(reference: str, other: str) -> float:
    """Word errors in percent of the reference's words; of one word when it has none."""
    words = reference.split()
    return 100 * word_errors(words, other.split()) / max(1, len(words))
