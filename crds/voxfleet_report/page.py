"""The parts that every report is put together from. Whatever is text is escaped. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import htpy as h

from voxfleet_report.stylesheet import STYLESHEET

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""A browser that opens the file asks no server for anything, and runs nothing."""

_DIRECTIONS_AND_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]"
)
"""What a name could hide behind: it is written out. `gpj.exe` turned around would look like a picture."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number: as people read it, and exactly, under a name that does not change."""

    name: str
    """Such as `clips.succeeded`; `data-figure` in the file."""
    value: int | str
    """Exact, in the unit that the name ends with; `data-value` in the file."""
    text: str


@dataclass(frozen=True, slots=True)
class Column:
    heading: str
    number: bool = False
    long: bool = False
    """Whether its text may take several lines."""


Cell = str | Figure | h.Element


def page(title: str, body: Iterable[h.Node]) -> str:
    """The whole file."""
    document = h.html(lang="en")[
        h.head[
            h.meta(charset="utf-8"),
            h.meta(http_equiv="Content-Security-Policy", content=_POLICY),
            h.meta(name="viewport", content="width=device-width, initial-scale=1"),
            h.meta(name="color-scheme", content="light dark"),
            h.meta(name="referrer", content="no-referrer"),
            h.title[visible(title)],
            h.style[STYLESHEET],
        ],
        h.body[h.main[list(body)]],
    ]
    return f"{document}\n"


def section(title: str, *content: h.Node) -> h.Element:
    return h.section[h.h2[title], *content]


def paragraph(*content: h.Node) -> h.Element:
    return h.p[content]


def note(*content: h.Node) -> h.Element:
    return h.p(".quiet")[content]


def name(text: str) -> h.Element:
    """A name that somebody chose. It may be written from right to left, but turns nothing around it."""
    return h.bdi[visible(text)]


def visible(text: str) -> str:
    """With what turns text around, or cannot be seen, written out."""
    return _DIRECTIONS_AND_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def figure(shown: Figure) -> h.Element:
    return h.span(data_figure=shown.name, data_value=str(shown.value))[shown.text]


def tiles(items: Iterable[tuple[str, Figure | None]]) -> h.Element:
    """`None`: not known."""
    return h.dl(".tiles")[[h.div[h.dt[label], h.dd["–" if shown is None else figure(shown)]] for label, shown in items]]


def table(
    caption: str, columns: Sequence[Column], rows: Iterable[Sequence[Cell]], total: Sequence[Cell] | None = None
) -> h.Element:
    """The first cell of each row is its heading. The roles stay what they are when a phone shows rows as blocks."""
    return h.table(role="table")[
        h.caption[caption],
        h.thead(role="rowgroup")[
            h.tr(role="row")[
                [
                    h.th(class_={"number": column.number}, role="columnheader", scope="col")[column.heading]
                    for column in columns
                ]
            ]
        ],
        h.tbody(role="rowgroup")[[_row(columns, row) for row in rows]],
        None if total is None else h.tfoot(role="rowgroup")[_row(columns, total)],
    ]


def verdict(*, kept: bool | None, text: str) -> h.Element:
    """`kept`: whether a limit was kept; None: nobody can tell. Said in words too, not by colour alone."""
    return h.span(class_={"good": kept is True, "bad": kept is False, "quiet": kept is None})[text]


def _row(columns: Sequence[Column], cells: Sequence[Cell]) -> h.Element:
    return h.tr(role="row")[
        [
            _cell(column, cell, first=number == 0)
            for number, (column, cell) in enumerate(zip(columns, cells, strict=True))
        ]
    ]


def _cell(column: Column, cell: Cell, *, first: bool) -> h.Element:
    content = figure(cell) if isinstance(cell, Figure) else visible(cell) if isinstance(cell, str) else cell
    classes = {"number": column.number, "long": column.long}
    if first:
        return h.th(class_=classes, role="rowheader", scope="row", data_label=column.heading)[content]
    return h.td(class_=classes, role="cell", data_label=column.heading)[content]
