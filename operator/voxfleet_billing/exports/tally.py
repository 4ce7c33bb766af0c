"""What the lines of a bill come to: counts, times, and money by currency. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from voxfleet_billing.charge import Charge, ChargeKind
from voxfleet_billing.money import EXACT, ZERO


@dataclass(slots=True)
class KindTotal:
    lines: int = 0
    milliseconds: int = 0


@dataclass(slots=True)
class CurrencyTotal:
    list_cost: Decimal = ZERO
    contracted_cost: Decimal = ZERO
    billed_cost: Decimal = ZERO
    effective_cost: Decimal = ZERO

    def include(self, other: CurrencyTotal) -> None:
        self.list_cost = EXACT.add(self.list_cost, other.list_cost)
        self.contracted_cost = EXACT.add(self.contracted_cost, other.contracted_cost)
        self.billed_cost = EXACT.add(self.billed_cost, other.billed_cost)
        self.effective_cost = EXACT.add(self.effective_cost, other.effective_cost)


@dataclass(slots=True)
class Tally:
    kinds: dict[ChargeKind, KindTotal] = field(default_factory=dict)
    currencies: dict[str, CurrencyTotal] = field(default_factory=dict)
    corrections: int = 0
    unpriced: int = 0

    def counted(self, charges: Iterable[Charge]) -> Iterator[Charge]:
        """The same lines; each is counted as it passes."""
        for charge in charges:
            total = self.kinds.get(charge.kind)
            if total is None:
                total = self.kinds[charge.kind] = KindTotal()
            total.lines += 1
            total.milliseconds += charge.milliseconds
            self.corrections += charge.correction
            if charge.money is None:
                self.unpriced += charge.kind is not ChargeKind.ESTIMATED
            else:
                money = charge.money
                sums = self.currencies.get(money.currency)
                if sums is None:
                    sums = self.currencies[money.currency] = CurrencyTotal()
                sums.list_cost = EXACT.add(sums.list_cost, money.list_cost)
                sums.contracted_cost = EXACT.add(sums.contracted_cost, money.contracted_cost)
                sums.billed_cost = EXACT.add(sums.billed_cost, money.billed_cost)
                sums.effective_cost = EXACT.add(sums.effective_cost, money.effective_cost)
            yield charge

    def include(self, other: Tally) -> None:
        for kind, found in other.kinds.items():
            total = self.kinds.setdefault(kind, KindTotal())
            total.lines += found.lines
            total.milliseconds += found.milliseconds
        for currency, sums in other.currencies.items():
            self.currencies.setdefault(currency, CurrencyTotal()).include(sums)
        self.corrections += other.corrections
        self.unpriced += other.unpriced
