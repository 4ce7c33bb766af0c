"""How a command prints its output: a table, text or JSON, as wide as the terminal."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console, RenderableType


class TableFormat(StrEnum):
    TABLE = "table"
    JSON = "json"


class TextFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


TableOption = Annotated[TableFormat, typer.Option("--output", "-o", help="table for people, json for scripts.")]
TextOption = Annotated[TextFormat, typer.Option("--output", "-o", help="text for people, json for scripts.")]

_UNBOUNDED = 100_000


def console(least_width: int = 0) -> Console:
    """Returns a console for standard output. `least_width`: the width below which its tables are unreadable."""
    output = Console(markup=False, highlight=False, soft_wrap=least_width > 0)
    output.width = max(output.width, least_width) if output.is_terminal else _UNBOUNDED
    return output


def show(*items: RenderableType) -> None:
    out = console()
    for item in items:
        out.print(item)
