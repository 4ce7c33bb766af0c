"""Bars in a terminal, or in plain text where there is none. Pure."""

from __future__ import annotations

from collections.abc import Sequence

FULL, EIGHTHS, PLAIN = "█", " ▏▎▍▌▋▊▉", "#"
MIN_WIDTH = 10


def bars(rows: Sequence[tuple[str, int, str]], columns: int, *, plain: bool) -> list[str]:
    """A line for each (label, value, text of the value), as wide as `columns` allow."""
    if not rows:
        return []
    label_width = max(len(label) for label, _, _ in rows)
    text_width = max(len(text) for _, _, text in rows)
    width = max(MIN_WIDTH, columns - label_width - text_width - 4)
    top = max(1, max(value for _, value, _ in rows))
    return [
        f"{label.ljust(label_width)}  {bar(value, top, width, plain=plain).ljust(width)}  {text.rjust(text_width)}"
        for label, value, text in rows
    ]


def bar(value: int, top: int, width: int, *, plain: bool) -> str:
    """Of `value`, where `top` fills the width. What is more than nothing can be seen."""
    value = max(0, min(value, top))
    if plain:
        return PLAIN * max(value > 0, round(width * value / top))
    eighths = max(value > 0, round(8 * width * value / top))
    return FULL * (eighths // 8) + EIGHTHS[eighths % 8].strip()
