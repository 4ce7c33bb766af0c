"""Times as a model reports them, put in order. Pure.

Models report times that go back, end before they begin, are missing or are no numbers. A text is never dropped for
that: the starts that agree with each other are believed, and all others follow from them.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real

from voxfleet_api.rows import TimedText
from voxfleet_api.time_shares import shares

MILLISECONDS_PER_CHARACTER = 65
"""How long a character takes to say where the transcript itself does not tell: 150 English words a minute."""
SLOWEST_MILLISECONDS_PER_CHARACTER = 260
"""A slower pace than that of Chinese is one of silence: it must not count as speech that was written down."""


@dataclass(frozen=True, slots=True)
class ReportedText:
    """A text and its times in seconds; None: the model gave none that could be read."""

    text: str
    start_seconds: float | None
    end_seconds: float | None

    @property
    def has_span(self) -> bool:
        start, end = self.start_seconds, self.end_seconds
        return start is not None and end is not None and max(0.0, start) < end


def seconds(value: object) -> float | None:
    """A model's time; None for whatever is no finite number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(float(value)):
        return None
    return float(value)


def in_order(parts: Sequence[ReportedText], *, overlapping: bool = False) -> tuple[TimedText, ...]:
    """The parts in the order of their text, in milliseconds: no start lies before the one of the part before.

    Of all starts, the longest series that never goes back is believed. A part with another start begins where the part
    before it ends; the first one ends where the next begins. An end that is missing or does not lie behind its start is
    estimated by the length of the text, at the pace of the other parts: a model of frames reports a word of one frame
    as if it took no time. A part ends at the latest where the next one begins, unless they may be `overlapping`.
    """
    starts = [None if part.start_seconds is None else _milliseconds(part.start_seconds) for part in parts]
    ends = [None if part.end_seconds is None else _milliseconds(part.end_seconds) for part in parts]
    believed = _longest_series(starts)
    pace = _milliseconds_per_character([parts[position] for position in believed])
    followings: list[int | None] = []
    following: int | None = None
    for position in reversed(range(len(parts))):
        followings.append(following)
        following = starts[position] if position in believed else following
    timed: list[TimedText] = []
    reached: int | None = None
    for position, (part, start, end, following) in enumerate(
        zip(parts, starts, ends, reversed(followings), strict=True)
    ):
        length = round(pace * len(part.text.strip()))
        believes = start is not None and position in believed
        if start is None or not believes:
            begin = max(0, (following or 0) - length) if reached is None else reached
            start = begin if following is None else min(begin, following)
        estimates = not believes or end is None or end <= start
        if end is None or estimates:
            end = start + length
        if following is not None and (estimates or not overlapping):
            end = max(start, min(end, following))
        timed.append(TimedText(start_milliseconds=start, end_milliseconds=end, text=part.text.strip()))
        reached = end
    return tuple(timed)


def spread(text: TimedText) -> list[ReportedText]:
    """The words of a text whose words have no times."""
    words = shares(text.text.split(), text.start_milliseconds, text.end_milliseconds)
    return [ReportedText(word.text, word.start_milliseconds / 1000, word.end_milliseconds / 1000) for word in words]


def _milliseconds(time_seconds: float) -> int:
    return max(0, round(time_seconds * 1000))


def _longest_series(starts: Sequence[int | None]) -> frozenset[int]:
    """The positions of the longest series of starts that never goes back."""
    lowest: list[int] = []
    """The lowest start with which a series of this length can end."""
    last: list[int] = []
    before: dict[int, int | None] = {}
    for position, start in enumerate(starts):
        if start is None:
            continue
        length = bisect_right(lowest, start)
        before[position] = last[length - 1] if length else None
        lowest[length : length + 1] = [start]
        last[length : length + 1] = [position]
    series: list[int] = []
    current = last[-1] if last else None
    while current is not None:
        series.append(current)
        current = before[current]
    return frozenset(series)


def _milliseconds_per_character(parts: Iterable[ReportedText]) -> float:
    told = [part for part in parts if part.has_span and part.text.strip()]
    characters = sum(len(part.text.strip()) for part in told)
    spans = sum(1000 * ((part.end_seconds or 0) - max(0.0, part.start_seconds or 0)) for part in told)
    return min(spans / characters, SLOWEST_MILLISECONDS_PER_CHARACTER) if characters else MILLISECONDS_PER_CHARACTER
