"""Golden tables as Markdown: a heading, a sentence and one table a section, so that a review shows which cell moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
REWRITE = "if that is meant: PYTHONPATH=. .venv/bin/python -m tests.unit.operator.golden.write, and read the diff"


@dataclass(frozen=True)
class Section:
    """One table. `rows`: the cells by column, by the name in the first column."""

    title: str
    text: str
    first_column: str
    rows: Mapping[str, Mapping[str, str]]


def rendered(introduction: str, sections: list[Section]) -> str:
    return "\n".join([introduction, *(_rendered(section) for section in sections)])


def read(path: Path) -> dict[str, Section]:
    """The sections of a file by title."""
    _, *parts = path.read_text().split("\n## ")
    return {section.title: section for section in map(_read, parts)}


def _rendered(section: Section) -> str:
    columns = list(dict.fromkeys(column for cells in section.rows.values() for column in cells))
    lines = [f"## {section.title}", "", section.text, "", _line(section.first_column, *columns)]
    lines.append("|" + "---|" * (len(columns) + 1))
    lines += [_line(name, *(cells.get(column, "") for column in columns)) for name, cells in section.rows.items()]
    return "\n".join(lines) + "\n"


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _read(part: str) -> Section:
    title, text, table = part.strip().split("\n\n", 2)
    head, _, *lines = table.splitlines()
    first_column, *columns = _cells(head)
    rows: dict[str, Mapping[str, str]] = {}
    for line in lines:
        name, *cells = _cells(line)
        assert name not in rows, f"{title}: {name} has two rows"
        rows[name] = dict(zip(columns, cells, strict=True))
    return Section(title, text, first_column, rows)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
