"""The text of a CSV: RFC 4180, with quotes only where they are needed. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

LINE_END = "\r\n"
DELIMITERS = ",;|\t"
_NEEDS_QUOTES = {delimiter: re.compile(rf'["\r\n{delimiter}]') for delimiter in DELIMITERS}


def needs_quotes(cell: str, delimiter: str = ",") -> bool:
    return _NEEDS_QUOTES[delimiter].search(cell) is not None


def quoted(cell: str, delimiter: str = ",") -> str:
    if not needs_quotes(cell, delimiter):
        return cell
    doubled = cell.replace('"', '""')
    return f'"{doubled}"'


def csv_line(cells: Iterable[str], delimiter: str = ",") -> str:
    return delimiter.join([quoted(cell, delimiter) for cell in cells]) + LINE_END
