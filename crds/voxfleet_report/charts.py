"""Charts as inline SVG. Each has a title and a description, so that it can be read without being seen. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import htpy as h

from voxfleet_report.distribution import Bucket

_WIDTH, _HEIGHT = 360, 190
"""As wide as a phone, where the text is as large as it is said to be."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 8, 30, 34
_NAME_WIDTH = 96
_BAR_HEIGHT = 22

_svg, _g, _rect, _line, _text, _circle, _polyline, _title, _desc = (
    h.Element(name) for name in ("svg", "g", "rect", "line", "text", "circle", "polyline", "title", "desc")
)


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line through a histogram, such as a percentile."""

    label: str
    value: int


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of segments."""

    label: str
    segments: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Point:
    label: str
    value: int
    chosen: bool = False


def histogram(
    name: str, title: str, buckets: Sequence[Bucket], marks: Sequence[Mark], text: Callable[[int], str]
) -> h.Element:
    """One bar a bucket, all of one width, though buckets grow. `name`: unique in the file. `text`: of a value."""
    highest = max(bucket.count for bucket in buckets)
    step = (_WIDTH - _LEFT - _RIGHT) / len(buckets)
    described = ", ".join(f"{mark.label} {text(mark.value)}" for mark in marks)
    every = -(-len(buckets) // 5)
    drawn: list[h.Node] = [_scale(highest, f"{highest:,}")]
    for number, bucket in enumerate(buckets):
        x, height = _LEFT + number * step, _share(bucket.count, highest) * _PLOT
        drawn.append(
            _rect(".productive", x=_at(x + 0.5), y=_at(_FLOOR - height), width=_at(step - 1), height=_at(height))[
                _title[f"{_range(bucket, text)}: {bucket.count:,}"]
            ]
        )
        if number % every == 0:
            drawn.append(_text(".quiet", x=_at(x), y=_FLOOR + 14)[text(bucket.start)])
    drawn += _marks(buckets, marks, step)
    return _chart(name, title, f"{sum(bucket.count for bucket in buckets):,} clips; {described}.", _HEIGHT, drawn)


def ladder(name: str, title: str, points: Sequence[Point], text: Callable[[int], str], cap: Mark | None) -> h.Element:
    """One line over batch sizes; a ring around the one that was used. `cap`: a limit, drawn where it is in sight."""
    highest = max(point.value for point in points)
    in_sight = cap is not None and cap.value <= highest * 1.6
    top = max(highest, cap.value) if cap is not None and in_sight else highest
    step = (_WIDTH - _LEFT - _RIGHT) / len(points)
    places = [
        (_LEFT + (number + 0.5) * step, _FLOOR - _share(point.value, top) * _PLOT, point)
        for number, point in enumerate(points)
    ]
    drawn: list[h.Node] = [
        _scale(top, text(top)),
        _polyline(".series", points=" ".join(f"{_at(x)},{_at(y)}" for x, y, _ in places)),
    ]
    for x, y, point in places:
        drawn.append(_circle(".point", cx=_at(x), cy=_at(y), r="3.5")[_title[f"{point.label}: {text(point.value)}"]])
        if point.chosen:
            drawn.append(_circle(".chosen", cx=_at(x), cy=_at(y), r=7))
        drawn.append(_text(".quiet", x=_at(x), y=_FLOOR + 14, text_anchor="middle")[point.label])
    if cap is not None:
        y = _FLOOR - _share(cap.value, top) * _PLOT if in_sight else _TOP
        drawn.append(_line(".mark", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=_at(y), y2=_at(y)) if in_sight else None)
        label = f"{cap.label} {text(cap.value)}" if in_sight else f"{cap.label} {text(cap.value)}, above this chart"
        drawn.append(_text(x=_WIDTH - _RIGHT, y=_at(y - 4), text_anchor="end")[label])
    described = ", ".join(f"{point.label}: {text(point.value)}{' (used)' if point.chosen else ''}" for point in points)
    drawn.append(_text(".quiet", x=_LEFT, y=_HEIGHT - 4)["batch size"])
    return _chart(name, title, f"By batch size. {described}.", _HEIGHT, drawn)


def stacked_bars(
    name: str, title: str, kinds: Sequence[tuple[str, str]], bars: Sequence[Bar], text: Callable[[int], str]
) -> h.Element:
    """Horizontal bars, one below the other. `kinds`: class and name of each segment."""
    longest = max([sum(bar.segments) for bar in bars] + [1])
    room = _WIDTH - _NAME_WIDTH - 62
    drawn: list[h.Node] = []
    for number, bar in enumerate(bars):
        y, x = number * _BAR_HEIGHT, float(_NAME_WIDTH)
        drawn.append(_text(x=_NAME_WIDTH - 6, y=y + 15, text_anchor="end")[_shortened(bar.label)])
        for (kind, kind_name), value in zip(kinds, bar.segments, strict=True):
            width = _share(value, longest) * room
            if value:
                drawn.append(
                    _rect(f".{kind}", x=_at(x), y=y + 4, width=_at(max(width, 0.5)), height=_BAR_HEIGHT - 8)[
                        _title[f"{bar.label}, {kind_name}: {text(value)}"]
                    ]
                )
            x += width
        drawn.append(_text(".quiet", x=_at(x + 5), y=y + 15)[text(sum(bar.segments))])
    described = "; ".join(f"{bar.label} {text(sum(bar.segments))}" for bar in bars)
    return _chart(name, title, f"{described}.", max(1, len(bars)) * _BAR_HEIGHT, drawn, key(kinds))


def columns(
    name: str, title: str, kinds: Sequence[tuple[str, str]], bars: Sequence[Bar], text: Callable[[int], str]
) -> h.Element:
    """Vertical bars beside each other, such as the nights of a month."""
    highest = max([sum(bar.segments) for bar in bars] + [1])
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(bars))
    every = -(-len(bars) // 8)
    drawn: list[h.Node] = [_scale(highest, text(highest))]
    for number, bar in enumerate(bars):
        x, y = _LEFT + number * step, float(_FLOOR)
        for (kind, kind_name), value in zip(kinds, bar.segments, strict=True):
            height = _share(value, highest) * _PLOT
            y -= height
            if value:
                drawn.append(
                    _rect(f".{kind}", x=_at(x + 0.5), y=_at(y), width=_at(max(step - 1, 0.5)), height=_at(height))[
                        _title[f"{bar.label}, {kind_name}: {text(value)}"]
                    ]
                )
        if number % every == 0:
            drawn.append(_text(".quiet", x=_at(x + step / 2), y=_FLOOR + 14, text_anchor="middle")[bar.label])
    described = "; ".join(f"{bar.label} {text(sum(bar.segments))}" for bar in bars)
    return _chart(name, title, f"{described}.", _HEIGHT, drawn, key(kinds))


def key(kinds: Iterable[tuple[str, str]]) -> h.Element:
    """What the colours stand for."""
    return h.ul(".key")[
        [
            h.li[_svg(viewBox="0 0 10 10", aria_hidden="true")[_rect(f".{kind}", width=10, height=10)], kind_name]
            for kind, kind_name in kinds
        ]
    ]


_PLOT = _HEIGHT - _TOP - _BOTTOM
_FLOOR = _HEIGHT - _BOTTOM


def _chart(
    name: str, title: str, description: str, height: int, drawn: Sequence[h.Node], below: h.Node = None
) -> h.Element:
    svg = _svg(
        viewBox=f"0 0 {_WIDTH} {height}",
        role="img",
        aria_labelledby=f"{name}-title {name}-description",
    )[_title(id=f"{name}-title")[title], _desc(id=f"{name}-description")[description], drawn]
    return h.figure[h.figcaption[title], svg, below]


def _scale(top: int, label: str) -> h.Node:
    """The axis, and what its upper end stands for."""
    return _g[
        _line(".axis", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=_FLOOR, y2=_FLOOR),
        _line(".axis", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=_TOP, y2=_TOP),
        _text(".quiet", x=_LEFT - 4, y=_TOP + 4, text_anchor="end")[label if top else ""],
        _text(".quiet", x=_LEFT - 4, y=_FLOOR + 4, text_anchor="end")["0"],
    ]


def _marks(buckets: Sequence[Bucket], marks: Sequence[Mark], step: float) -> Iterator[h.Node]:
    """Percentiles in the same bucket share a line; labels that would touch stand above each other."""
    labels: dict[int, list[str]] = {}
    for mark in marks:
        number = max(number for number, bucket in enumerate(buckets) if bucket.start <= mark.value or number == 0)
        labels.setdefault(number, []).append(mark.label)
    row, taken_to = 0, 0.0
    for number, found in sorted(labels.items()):
        x, half = _LEFT + (number + 0.5) * step, 14.0 * len(found)
        x_text = min(x, _WIDTH - half)
        row = row + 1 if x_text - half < taken_to else 0
        taken_to = x_text + half
        yield _line(".mark", x1=_at(x), x2=_at(x), y1=_TOP, y2=_FLOOR)
        yield _text(x=_at(x_text), y=_at(_TOP - 4 - 11 * (row % 2)), text_anchor="middle")[", ".join(found)]


def _range(bucket: Bucket, text: Callable[[int], str]) -> str:
    return f"{text(bucket.start)} and more" if bucket.end is None else f"{text(bucket.start)} to {text(bucket.end)}"


def _shortened(label: str) -> str:
    return label if len(label) <= 16 else f"{label[:7]}…{label[-8:]}"


def _share(value: int, whole: int) -> float:
    return value / whole if whole else 0.0


def _at(coordinate: float) -> str:
    return f"{coordinate:.1f}"
