"""What the lines of Macs come to, as far as lines of the whole month follow from it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from voxfleet_billing.charge import Charge
from voxfleet_billing.fees import FeeShares
from voxfleet_billing.money import EXACT, ZERO


@dataclass(slots=True)
class MonthSums:
    """Sums of some Macs can be added to those of others, in any order."""

    billed: dict[str, Decimal] = field(default_factory=dict)
    """By lessor."""
    shares: FeeShares = field(default_factory=FeeShares)

    def bill(self, line: Charge) -> None:
        if line.money is not None:
            self._bill(line.lessor, line.money.billed_cost)

    def include(self, other: MonthSums) -> None:
        for lessor, cost in other.billed.items():
            self._bill(lessor, cost)
        self.shares.include(other.shares)

    def _bill(self, lessor: str, cost: Decimal) -> None:
        self.billed[lessor] = EXACT.add(self.billed.get(lessor, ZERO), cost)
