"""The text of a CSV: RFC 4180, with quotes only where they are needed. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

LINE_END = "\r\n"
_NEEDS_QUOTES = re.compile(r'[",;|\t\r\n]')


def quoted(cell: str) -> str:
    if not _NEEDS_QUOTES.search(cell):
        return cell
    doubled = cell.replace('"', '""')
    return f'"{doubled}"'


def csv_line(cells: Iterable[str], delimiter: str = ",") -> str:
    return delimiter.join(map(quoted, cells)) + LINE_END
