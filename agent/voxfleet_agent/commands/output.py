"""In which form a command prints what it found."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class TableFormat(StrEnum):
    TABLE = "table"
    JSON = "json"


class TextFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


TableOption = Annotated[TableFormat, typer.Option("--output", "-o", help="table for people, json for scripts.")]
TextOption = Annotated[TextFormat, typer.Option("--output", "-o", help="text for people, json for scripts.")]
