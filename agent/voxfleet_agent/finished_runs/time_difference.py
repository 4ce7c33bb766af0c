"""Says how the times of two transcripts differ. Pure.

Times are compared to the millisecond: a model that gives another time for the same samples has computed otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from voxfleet_api.rows import ResultRow, TimedText


def times_of(row: ResultRow) -> tuple[object, ...]:
    return row.segments, row.words


def what_differs_in_time(a: ResultRow, b: ResultRow) -> Iterator[str]:
    """The differences of segments and of words, without any of their text."""
    for name, of_a, of_b in (("segments", a.segments, b.segments), ("words", a.words, b.words)):
        if of_a == of_b:
            continue
        if of_a is None or of_b is None:
            yield f"{name} with times in {'B' if of_a is None else 'A'} alone"
        elif [part.text for part in of_a] != [part.text for part in of_b]:
            yield f"other {name} ({len(of_a)} and {len(of_b)})"
        else:
            yield _moved(name, of_a, of_b)


def _moved(name: str, of_a: Sequence[TimedText], of_b: Sequence[TimedText]) -> str:
    distances = [
        max(abs(one.start_milliseconds - other.start_milliseconds), abs(one.end_milliseconds - other.end_milliseconds))
        for one, other in zip(of_a, of_b, strict=True)
    ]
    moved = sum(distance > 0 for distance in distances)
    return f"times of {moved} of {len(of_a)} {name}, by up to {max(distances)} ms"
