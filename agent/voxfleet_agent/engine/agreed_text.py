"""Text that only grows, from hypotheses about a recording each of which may change what the one before said. Pure.

A hypothesis is cut into units: words, or single characters with their marks in scripts that put no space between words.
A unit is sent once two hypotheses in a row agree on it and on all before it, and know one more, since the last one may
be incomplete ("twen", "twenty").
"""

from __future__ import annotations

import re
import unicodedata

import numpy as np

_SPACELESS = (
    "\u0e00-\u0fff"  # Thai, Lao, Tibetan
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Myanmar
    "\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf"  # Khmer, Tai Le, New Tai Lue, Tai Tham
    "\u1b00-\u1b7f\ua980-\ua9df\uaa00-\uaa5f"  # Balinese, Javanese, Cham
    "\u2e80-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han, kana, Bopomofo
    "\uff01-\uff9f"  # full-width punctuation, half-width kana; Korean writes spaces
)
_UNIT = re.compile(rf"\s*(?:[{_SPACELESS}]|[^\s{_SPACELESS}]+)")
_JOINING = "\u0e33\u0eb3"
"""Vowels of Thai and Lao: no marks by category, and yet part of the character before."""


class AgreedText:
    """What is sent of one turn."""

    def __init__(self) -> None:
        self.text = ""
        """All that was sent: every delta, one after the other."""
        self.revisions = 0
        """How often a hypothesis contradicted what was sent."""
        self._contradiction: str | None = None
        self._previous: list[str] = []

    def update(self, hypothesis: str) -> str:
        """What can be sent now, possibly nothing. White space at the ends of a hypothesis is no text."""
        hypothesis = hypothesis.strip()
        if not self.text.startswith(hypothesis):
            self._count_contradiction(hypothesis)
        found = units(hypothesis)
        agreed = _common(self._previous, found)
        self._previous = found
        return self._send(found[:agreed])

    def finish(self, final: str) -> str:
        """What is still missing of the final text; `text` is that text unless it contradicts what was sent.

        In that case what was sent stands. It replaces the beginning of the final text that it differs least from, and
        the rest of the final text follows.
        """
        final = final.strip()
        self._count_contradiction(final)
        return self._send(units(final))

    def _count_contradiction(self, hypothesis: str) -> None:
        if not hypothesis.startswith(self.text) and hypothesis != self._contradiction:
            self.revisions += 1
            self._contradiction = hypothesis

    def _send(self, settled: list[str]) -> str:
        text = "".join(settled)
        if text.startswith(self.text):
            delta = text[len(self.text) :]
        else:
            delta = "".join(settled[_end_of(units(self.text), settled) :])
        self.text += delta
        return delta


def units(text: str) -> list[str]:
    """Cuts a text without white space at its end; a unit begins with the white space before it."""
    found: list[str] = []
    for unit in _UNIT.findall(text):
        if found and (unit[0] in _JOINING or unicodedata.category(unit[0]).startswith("M")):
            found[-1] += unit
        else:
            found.append(unit)
    return found


def _common(previous: list[str], units_now: list[str]) -> int:
    """How many units both begin with, the last one of `previous` left out."""
    count = 0
    while count < min(len(previous) - 1, len(units_now)) and previous[count] == units_now[count]:
        count += 1
    return count


def _end_of(sent: list[str], settled: list[str]) -> int:
    """How many units of `settled` begin it that differ least from `sent`; of equals, about as many as `sent` has."""
    sent, rest = [unit.strip() for unit in sent], [unit.strip() for unit in settled]
    common = 0
    while common < min(len(sent), len(rest)) and sent[common] == rest[common]:
        common += 1
    sent, rest = sent[common:], rest[common:]
    numbers = {unit: number for number, unit in enumerate(dict.fromkeys(sent + rest))}
    columns = np.arange(len(rest) + 1)
    there = np.array([numbers[unit] for unit in rest], np.int64)
    # distances[k]: by how many units what was sent so far differs from the first k of the rest.
    distances = columns.copy()
    for unit in sent:
        changed = distances + 1
        changed[1:] = np.minimum(changed[1:], distances[:-1] + (there != numbers[unit]))
        distances = np.minimum.accumulate(changed - columns) + columns
    closest = np.flatnonzero(distances == distances.min())
    return common + int(closest[np.argmin(np.abs(closest - len(sent)))])
