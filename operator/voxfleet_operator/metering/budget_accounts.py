"""The budgets of the price book, what is used of them by now, and which thresholds nobody has been told of yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from voxfleet_billing.budget_use import BudgetUse, Payer, budget_uses
from voxfleet_billing.price_book import Budget, PriceBook


def _no_book() -> PriceBook | None:
    return None


class _Threshold(NamedTuple):
    budget: tuple[str | None, str | None]
    month: str
    percent: int


@dataclass(frozen=True, slots=True)
class ReachedThreshold:
    use: BudgetUse
    percent: int


class BudgetAccounts:
    """Placement writes what it found, and the price book's watch tells of it.

    Which thresholds were told is nowhere stored. A new process takes those as told that statements alone reach: while
    nobody leads, no statement moves. So a threshold is told at least once, and again only if a restart comes between
    the use and the statement that counts it.
    """

    def __init__(self, book: Callable[[], PriceBook | None] = _no_book) -> None:
        """`book`: the price book as it is now."""
        self._book = book
        self._told: set[_Threshold] | None = None
        self._reached: list[ReachedThreshold] = []
        self.uses: tuple[BudgetUse, ...] = ()

    @property
    def book(self) -> PriceBook | None:
        return self._book()

    @property
    def budgets(self) -> tuple[Budget, ...]:
        return () if self.book is None else self.book.budgets

    def found(self, used: Mapping[Payer, int], counted: Mapping[Payer, int], month: str) -> tuple[BudgetUse, ...]:
        """`used`: milliseconds of the month; `counted`: those that statements count."""
        if not self.budgets:
            self.uses = ()
            return self.uses
        self.uses = budget_uses(self.budgets, used, month)
        reached = {threshold: use for use in self.uses for threshold in _thresholds(use)}
        if self._told is None:
            self._told = {
                threshold for use in budget_uses(self.budgets, counted, month) for threshold in _thresholds(use)
            }
        new = sorted(reached.keys() - self._told, key=lambda threshold: threshold.percent)
        self._reached += [ReachedThreshold(reached[threshold], threshold.percent) for threshold in new]
        self._told = {threshold for threshold in self._told if self._still_counts(threshold, month)} | reached.keys()
        return self.uses

    def take_reached(self) -> list[ReachedThreshold]:
        """What was reached since the last call."""
        reached, self._reached = self._reached, []
        return reached

    def _still_counts(self, threshold: _Threshold, month: str) -> bool:
        """One of a budget that the book no longer has is forgotten, so that nothing grows."""
        return threshold.month == month and any(_name(budget) == threshold.budget for budget in self.budgets)


def _name(budget: Budget) -> tuple[str | None, str | None]:
    return budget.billing_key, budget.namespace


def _thresholds(use: BudgetUse) -> list[_Threshold]:
    return [_Threshold(_name(use.budget), use.month, percent) for percent in use.reached_percent]
