"""Times for parts of a text that have none. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from voxfleet_api.rows import TimedText


def shares(parts: Sequence[str], start_milliseconds: int, end_milliseconds: int) -> list[TimedText]:
    """The parts of a text whose parts have no times: each takes a share of its time by its number of characters."""
    length, span = sum(len(part) for part in parts), max(0, end_milliseconds - start_milliseconds)
    shared: list[TimedText] = []
    before, start = 0, start_milliseconds
    for part in parts:
        before += len(part)
        end = start_milliseconds + round(span * before / length)
        shared.append(TimedText(start_milliseconds=start, end_milliseconds=end, text=part))
        start = end
    return shared
