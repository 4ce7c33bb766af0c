"""Cuts a transcript into subtitles that a person can read. Pure.

The bounds are those of Netflix' Timed Text Style Guide (partnerhelp.netflixstudios.com, General Requirements 1 and 4,
English Template 5): a subtitle is shown for at least 5/6 of a second and at most 7 seconds, in at most two lines of 42
characters each. A wide character, as Chinese has them, counts as two.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from voxfleet_api.rows import TimedText
from voxfleet_api.time_shares import shares

SHORTEST_MILLISECONDS = 833
LONGEST_MILLISECONDS = 7000
LINE_COLUMNS = 42

_SENTENCE_END = re.compile("[.?!…。！？｡।؟][\"'”’»）)\\]]*$")
_CLAUSE_END = re.compile("[,;:—–،、，；：][\"'”’»）)\\]]*$")
_PAUSE_MILLISECONDS = 1000
_SHORT_PAUSE_MILLISECONDS = 500

# What a way to cut costs; the cheapest is taken. A cue costs 1.
_SENTENCE_INSIDE = 1.5
_PAUSE_INSIDE = 3.0
_ENDS_AT_CLAUSE = 0.4
_ENDS_ANYWHERE = 1.2
_TOO_SHORT = 3.0
_FULLNESS = 0.5
"""Times the square of the share of both lines that a cue fills, so that cues of one sentence have similar lengths."""


@dataclass(frozen=True, slots=True)
class Cue:
    """One subtitle; `end_milliseconds` is always greater than `start_milliseconds`."""

    start_milliseconds: int
    end_milliseconds: int
    text: str
    """One or two lines, none of them empty."""


@dataclass(frozen=True, slots=True)
class _Unit:
    """What stays together: a word, or a whole text whose words have no times."""

    text: str
    start: int
    end: int
    spaced: bool
    """Whether a space lies before it."""
    ends_segment: bool = False
    interrupts: bool = False
    """It begins a segment before an earlier one ends: somebody else speaks."""


def cues(segments: Iterable[TimedText], words: Iterable[TimedText], audio_milliseconds: int) -> list[Cue]:
    """The text of all segments, in the order of their starts.

    Cues break at the ends of sentences and at pauses where they can, and a sentence that a window cuts is joined. A
    segment that begins before an earlier one ends is another speaker's and begins a cue. Each is shown for at least
    SHORTEST_MILLISECONDS, or for an equal share of an audio that is too short for that: it starts later, or ends later,
    than its words, where they leave less. None begins before the previous one ends, and none ends behind the audio,
    unless that is shorter than a millisecond a cue.
    """
    units = _monotonic(_units(sorted(segments, key=lambda segment: segment.start_milliseconds), list(words)))
    if not units:
        return []
    groups = _cheapest_groups(units, audio_milliseconds)
    return _timed(groups, max(audio_milliseconds, len(groups)))


def _clean(text: str) -> str:
    return " ".join(text.replace("\0", "\N{REPLACEMENT CHARACTER}").split())


def _units(segments: Sequence[TimedText], words: Sequence[TimedText]) -> Iterator[_Unit]:
    next_word, reached = 0, 0
    for segment in segments:
        text = _clean(segment.text)
        if not text:
            continue
        found = _words_within(text, words, next_word)
        if found is not None:
            units, next_word = found
        else:
            units = _without_words(text, segment.start_milliseconds, segment.end_milliseconds)
            while next_word < len(words) and words[next_word].start_milliseconds < segment.end_milliseconds:
                next_word += 1
        fitting = [part for unit in units for part in _cut_to_lines(unit)]
        fitting[0] = replace(fitting[0], interrupts=segment.start_milliseconds < reached)
        reached = max(reached, segment.end_milliseconds)
        yield from fitting[:-1]
        yield replace(fitting[-1], ends_segment=True)


def _words_within(text: str, words: Sequence[TimedText], next_word: int) -> tuple[list[_Unit], int] | None:
    """The words from `next_word` on that make up the text, and the number of the one behind them; None: they do not."""
    units: list[_Unit] = []
    position = 0
    while position < len(text):
        if next_word == len(words):
            return None
        word, timed = _clean(words[next_word].text), words[next_word]
        next_word += 1
        spaced = text[position] == " "
        if not word:
            continue
        if not text.startswith(word, position + spaced):
            return None
        position += spaced + len(word)
        units.append(_Unit(word, timed.start_milliseconds, timed.end_milliseconds, spaced or not units))
    return units, next_word


def _without_words(text: str, start: int, end: int) -> list[_Unit]:
    """The text as a whole where it makes one cue; else its words, each with a share of its time by its length."""
    if _columns(text) <= LINE_COLUMNS and end - start <= LONGEST_MILLISECONDS:
        return [_Unit(text, start, end, spaced=True)]
    return _shares(text.split(" "), start, end, spaced=True)


def _shares(parts: Sequence[str], start: int, end: int, *, spaced: bool) -> list[_Unit]:
    return [
        _Unit(part.text, part.start_milliseconds, part.end_milliseconds, spaced=spaced)
        for part in shares(parts, start, end)
    ]


def _cut_to_lines(unit: _Unit) -> list[_Unit]:
    """The unit, cut where it is longer than a line: at spaces, else between characters, not before combining marks."""
    if _columns(unit.text) <= LINE_COLUMNS:
        return [unit]
    if " " in unit.text:
        parts = _shares(unit.text.split(" "), unit.start, unit.end, spaced=True)
        return [cut for part in (replace(parts[0], spaced=unit.spaced), *parts[1:]) for cut in _cut_to_lines(part)]
    return _cut_word(unit)


def _cut_word(unit: _Unit) -> list[_Unit]:
    parts, columns = [""], 0
    for character in unit.text:
        width = _columns(character)
        if columns + width > LINE_COLUMNS:
            parts.append("")
            columns = 0
        parts[-1] += character
        columns += width
    first, *others = _shares(parts, unit.start, unit.end, spaced=False)
    return [replace(first, spaced=unit.spaced), *others]


def _columns(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.category(character) in ("Mn", "Me", "Cf")
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )


def _monotonic(units: Iterable[_Unit]) -> list[_Unit]:
    found: list[_Unit] = []
    for unit in units:
        start = max(0, unit.start, found[-1].start if found else 0)
        found.append(replace(unit, start=start, end=max(unit.end, start)))
    return found


def _cheapest_groups(units: Sequence[_Unit], audio_milliseconds: int) -> list[list[_Unit]]:
    count = len(units)
    widths = [_columns(unit.text) for unit in units]
    reach = [0]
    """The columns of all units before this one, each with the space before it."""
    for unit, width in zip(units, widths, strict=True):
        reach.append(reach[-1] + width + unit.spaced)
    inside, ending = [0.0], []
    for unit, following in pairwise(units):
        within, at = _border_costs(unit, following)
        inside.append(inside[-1] + within)
        ending.append(at)
    ending.append(0.0)
    starts = [*(unit.start for unit in units), max(audio_milliseconds, units[-1].start)]

    def columns(first: int, behind: int) -> int:
        return reach[behind] - reach[first] - units[first].spaced

    best = [0.0] * (count + 1)
    chosen = [count] * count
    for first in reversed(range(count)):
        best[first] = float("inf")
        second_line = first + 1
        while second_line < count and columns(first, second_line + 1) <= LINE_COLUMNS:
            second_line += 1
        for behind in range(first + 1, count + 1):
            if behind > first + 1 and units[behind - 1].interrupts:
                break
            if behind > second_line and columns(second_line, behind) > LINE_COLUMNS:
                break
            if behind > first + 1 and units[behind - 1].end - units[first].start > LONGEST_MILLISECONDS:
                break
            cost = 1 + _FULLNESS * (columns(first, behind) / (2 * LINE_COLUMNS)) ** 2
            cost += inside[behind - 1] - inside[first] + ending[behind - 1] + best[behind]
            cost += _TOO_SHORT * (starts[behind] - units[first].start < SHORTEST_MILLISECONDS)
            if cost < best[first]:
                best[first], chosen[first] = cost, behind
    groups: list[list[_Unit]] = []
    first = 0
    while first < count:
        groups.append(list(units[first : chosen[first]]))
        first = chosen[first]
    return groups


def _border_costs(unit: _Unit, following: _Unit) -> tuple[float, float]:
    """What it costs to keep two units in one cue, and to end a cue between them."""
    pause = following.start - unit.end
    if pause >= _PAUSE_MILLISECONDS:
        return _PAUSE_INSIDE, 0.0
    if _SENTENCE_END.search(unit.text) or (unit.ends_segment and pause >= _SHORT_PAUSE_MILLISECONDS):
        return _SENTENCE_INSIDE, 0.0
    return 0.0, _ENDS_AT_CLAUSE if unit.ends_segment or _CLAUSE_END.search(unit.text) else _ENDS_ANYWHERE


def _timed(groups: Sequence[Sequence[_Unit]], limit: int) -> list[Cue]:
    """`limit`: where the last cue ends at the latest, at least a millisecond a cue."""
    shortest = min(SHORTEST_MILLISECONDS, limit // len(groups))
    starts: list[int] = []
    earliest = 0
    for position, group in enumerate(groups):
        latest = limit - (len(groups) - position) * shortest
        starts.append(min(max(group[0].start, earliest), latest))
        earliest = starts[-1] + shortest
    found: list[Cue] = []
    for group, start, following in zip(groups, starts, [*starts[1:], limit], strict=True):
        end = min(max(group[-1].end, start + shortest), start + LONGEST_MILLISECONDS, following)
        found.append(Cue(start, end, "\n".join(_lines(group))))
    return found


def _lines(units: Sequence[_Unit]) -> list[str]:
    """The text in one line if it fits, else in the two that are most alike in length."""
    whole = _joined(units)
    if _columns(whole) <= LINE_COLUMNS:
        return [whole]
    pairs = [(_joined(units[:cut]), _joined(units[cut:])) for cut in range(1, len(units))]
    return list(min(pairs, key=lambda pair: max(_columns(line) for line in pair)))


def _joined(units: Sequence[_Unit]) -> str:
    return "".join((" " if unit.spaced else "") + unit.text for unit in units).strip()
