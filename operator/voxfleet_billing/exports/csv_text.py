"""The text of a CSV: RFC 4180, with quotes only where they are needed. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

LINE_END = "\r\n"
DELIMITERS = ",;|\t"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_NEEDS_QUOTES = {delimiter: re.compile(rf'["\r\n{delimiter}]') for delimiter in DELIMITERS}


def needs_quotes(cell: str, delimiter: str = ",") -> bool:
    return _NEEDS_QUOTES[delimiter].search(cell) is not None


def quoted(cell: str, delimiter: str = ",") -> str:
    if not needs_quotes(cell, delimiter):
        return cell
    doubled = cell.replace('"', '""')
    return f'"{doubled}"'


def no_formula(text: str) -> str:
    """With an apostrophe before what a spreadsheet would take for a formula. Billing keys are anybody's text."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def without_apostrophe(text: str) -> str:
    """What `no_formula` was given."""
    return text[1:] if text[:1] == "'" and text.startswith(_FORMULA_STARTS, 1) else text


def csv_line(cells: Iterable[str], delimiter: str = ",") -> str:
    return delimiter.join([quoted(cell, delimiter) for cell in cells]) + LINE_END
