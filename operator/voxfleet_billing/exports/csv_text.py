"""The text of a CSV: RFC 4180, with quotes only where they are needed. Pure."""

from __future__ import annotations

from collections.abc import Iterable

LINE_END = "\r\n"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula."""


def needs_quotes(cell: str, delimiter: str = ",") -> bool:
    """Searches for one character are faster than a regular expression, and a month has a million lines."""
    return delimiter in cell or '"' in cell or "\n" in cell or "\r" in cell


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
