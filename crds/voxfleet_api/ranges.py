"""Sets of clip indexes as text, such as `0-3,7` (the form of an Indexed Job's completed indexes)."""

from __future__ import annotations

from collections.abc import Iterable


def encode(indexes: Iterable[int]) -> str:
    """Indexes in any order, duplicates allowed -> the shortest range text; `` for none."""
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
    indexes: list[int] = []
    if not text:
        return indexes
    for part in text.split(","):
        first_text, dash, last_text = part.partition("-")
        if not first_text.isdecimal() or (dash and not last_text.isdecimal()):
            raise ValueError(f"{part!r} is not an index or a range; write for example 0-3,7")
        first = int(first_text)
        last = int(last_text) if dash else first
        if last < first or (indexes and first <= indexes[-1]):
            raise ValueError(f"{part!r} must ascend and not overlap what stands before it")
        indexes.extend(range(first, last + 1))
    return indexes
