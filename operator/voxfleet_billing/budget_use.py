"""How much of each budget a month has used, and what follows from it. Pure.

A month is one in UTC. Machine time counts in milliseconds, as the ledger has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple

from voxfleet_billing.money import MILLISECONDS_AN_HOUR, hours_of, plain
from voxfleet_billing.price_book import Budget, BudgetPolicy

BUDGET = "budget"
"""With this word each reason begins for which a shard waits for a budget."""
_TENTH = Decimal("0.1")


class Payer(NamedTuple):
    """Who uses machine time."""

    namespace: str
    billing_key: str = ""
    """Empty: the job names none."""


@dataclass(frozen=True, slots=True)
class BudgetUse:
    budget: Budget
    month: str
    """Such as 2026-11."""
    used_milliseconds: int

    @property
    def name(self) -> str:
        """`billing key speech`, `namespace team`."""
        budget = self.budget
        return f"namespace {budget.namespace}" if budget.billing_key is None else f"billing key {budget.billing_key}"

    @property
    def limit_milliseconds(self) -> int:
        return int(self.budget.machine_hours_per_month * MILLISECONDS_AN_HOUR)

    @property
    def percent(self) -> int:
        """Rounded down: 100 is all of it."""
        return self.used_milliseconds * 100 // max(1, self.limit_milliseconds)

    @property
    def reached_percent(self) -> tuple[int, ...]:
        """The thresholds that are reached, the smallest first."""
        return tuple(percent for percent in self.budget.thresholds_percent if self._reached(percent))

    @property
    def holds(self) -> bool:
        """Whether new shards wait."""
        return self.budget.policy is BudgetPolicy.HOLD and self._reached(100)

    @property
    def text(self) -> str:
        """`120.0 of 120 machine-hours used in 2026-11`."""
        used = hours_of(self.used_milliseconds).quantize(_TENTH, rounding=ROUND_DOWN)
        return f"{used} of {plain(self.budget.machine_hours_per_month)} machine-hours used in {self.month}"

    @property
    def hold_reason(self) -> str:
        """Why a shard waits while the budget holds, and what ends it."""
        freed = f"{next_month(self.month):%Y-%m-%d}"
        return f"{BUDGET} of {self.name}: {self.text}; raise it in the price book, or wait until {freed}"

    def concerns(self, payer: Payer) -> bool:
        return _concerns(self.budget, payer)

    def _reached(self, percent: int) -> bool:
        return self.used_milliseconds * 100 >= percent * self.limit_milliseconds


def budget_uses(budgets: Iterable[Budget], used: Mapping[Payer, int], month: str) -> tuple[BudgetUse, ...]:
    """`used`: milliseconds of the month. Each payer counts to every budget that names its key or its namespace."""
    return tuple(
        BudgetUse(budget, month, sum(time for payer, time in used.items() if _concerns(budget, payer)))
        for budget in budgets
    )


def hold_reason(uses: Sequence[BudgetUse], payer: Payer) -> str | None:
    """Why a new shard of the payer waits; None: no budget holds it. Of several the price book's first one is named."""
    return next((use.hold_reason for use in uses if use.holds and use.concerns(payer)), None)


def month_of(now: datetime) -> str:
    return f"{now.astimezone(UTC):%Y-%m}"


def month_start(month: str) -> datetime:
    return datetime.fromisoformat(f"{month}-01").replace(tzinfo=UTC)


def next_month(month: str) -> datetime:
    """When the month is over."""
    start = month_start(month)
    return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)


def _concerns(budget: Budget, payer: Payer) -> bool:
    if budget.billing_key is not None:
        return budget.billing_key == payer.billing_key
    return budget.namespace == payer.namespace
