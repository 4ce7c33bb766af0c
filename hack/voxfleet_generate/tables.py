"""Pages and tables of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

HEADER = "<!-- Generated from the code by `make generate`; do not edit. -->\n"


def page(title: str, introduction: str, *sections: tuple[str, str]) -> str:
    parts = [f"{HEADER}\n# {title}\n\n{introduction}\n", *(f"## {name}\n\n{body}" for name, body in sections)]
    return "\n".join(parts)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row(columns), "|" + "---|" * len(columns), *map(_row, rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
