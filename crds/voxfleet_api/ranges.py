"""Sets of clip indexes as text, such as `0-3,7` (the form of an Indexed Job's completed indexes)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

MAX_INDEXES = 1_000_000
"""More clips than a job may have; prevents a hostile `0-9999999999` from filling memory."""


def encode(indexes: Iterable[int]) -> str:
    """Indexes in any order, duplicates allowed -> the shortest range text; `` for none."""
    if isinstance(indexes, range) and indexes and indexes.step == 1:  # of a shard: not worth a set of its clips
        return str(indexes[0]) if len(indexes) == 1 else f"{indexes[0]}-{indexes[-1]}"
    parts: list[str] = []
    ordered = sorted(set(indexes))
    start = 0
    while start < len(ordered):
        end = start
        while end + 1 < len(ordered) and ordered[end + 1] == ordered[end] + 1:
            end += 1
        first, last = ordered[start], ordered[end]
        parts.append(str(first) if first == last else f"{first}-{last}")
        start = end + 1
    return ",".join(parts)


def decode(text: str) -> list[int]:
    """`0-3,7` -> [0, 1, 2, 3, 7]. Raises ValueError when ranges are malformed, descending or overlap."""
    return [index for part in _ranges(text) for index in part]


def count(text: str) -> int:
    """How many indexes `decode` returns, without making them. Raises ValueError as it does."""
    return sum(len(part) for part in _ranges(text))


def _ranges(text: str) -> Iterator[range]:
    number, end = 0, 0
    for part in text.split(",") if text else ():
        found = re.fullmatch(r"([0-9]{1,7})(?:-([0-9]{1,7}))?", part)
        if found is None:
            raise ValueError(f"{part!r} is not an index or a range; write for example 0-3,7")
        first = int(found[1])
        last = int(found[2] or first)
        if last < first or first < end:
            raise ValueError(f"{part!r} must ascend and not overlap what stands before it")
        number, end = number + last + 1 - first, last + 1
        if number > MAX_INDEXES:
            raise ValueError(f"{part!r} makes more than {MAX_INDEXES} indexes; split the job")
        yield range(first, last + 1)
