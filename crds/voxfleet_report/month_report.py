"""What the report of a month says. Pure. Times are in milliseconds of lane time, idle time in those of a Mac."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Times:
    productive: int = 0
    retry: int = 0
    overhead: int = 0
    orphaned: int = 0
    """Work of jobs that were deleted before it was settled."""
    idle: int = 0
    """Rented, and no lane was held."""

    @property
    def machine(self) -> int:
        return self.productive + self.retry + self.overhead + self.orphaned


@dataclass(frozen=True, slots=True)
class Part:
    """A night, a Mac, or who pays."""

    name: str
    times: Times
    estimated: int = 0
    """Time of lost attempts that no signed row proves; never charged."""
    costs: tuple[tuple[str, str], ...] = ()
    """Currency and amount."""


@dataclass(frozen=True, slots=True)
class BudgetLine:
    name: str
    used: int
    limit: int
    percent: int
    policy: str


@dataclass(frozen=True, slots=True)
class MonthReport:
    month: str
    whole: Part
    audio: int
    clips: int
    rows: int
    corrections: int
    """Of the machine time, what belongs to an earlier month that was closed."""
    unpriced_lines: int
    nights: tuple[Part, ...]
    """All nights of the month, in order."""
    payers: tuple[Part, ...]
    """By team, or by namespace and billing key where there is none; those that used most first."""
    macs: tuple[Part, ...]
    """All of them."""
    budgets: tuple[BudgetLine, ...] = ()
    price_book_digest: str | None = None
    notes: tuple[str, ...] = field(default=())
    """What is missing, for people."""
