"""A line of a bill as two sides can be compared by it, and what may differ. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class DifferenceKind(StrEnum):
    MISSING = "Missing"  # ours has the line, theirs does not
    UNKNOWN = "Unknown"  # theirs has the line, ours does not
    TWICE = "Twice"  # theirs has the line more often
    TIME = "Time"  # the hours differ
    COST = "Cost"  # the amounts differ
    CURRENCY = "Currency"
    SKU = "Sku"


@dataclass(frozen=True, slots=True)
class ComparedLine:
    key: str
    """What identifies the line on both sides."""
    milliseconds: int | None
    """None: it says nothing of time."""
    cost: Decimal | None
    currency: str = ""
    number: int = 0
    """Of the line in its file; 0 for one that is in none."""
    sku: str | None = None
    """None: it says nothing of it."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    milliseconds: int = 0
    cost: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Difference:
    kind: DifferenceKind
    key: str
    our_milliseconds: int | None
    their_milliseconds: int | None
    our_cost: Decimal | None
    their_cost: Decimal | None
    currency: str
    """Ours and theirs where they differ; so is `sku`. `several`: of lines that were added up."""
    their_line: int
    """The first one; 0 if it is in no file."""
    sku: str
