"""In which form a command prints what it found."""

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
    """For standard output. `least_width`: of tables that make no sense when they are narrower."""
    found = Console(markup=False, highlight=False, soft_wrap=least_width > 0)
    found.width = max(found.width, least_width) if found.is_terminal else _UNBOUNDED
    return found


def show(*shown: RenderableType) -> None:
    out = console()
    for item in shown:
        out.print(item)
