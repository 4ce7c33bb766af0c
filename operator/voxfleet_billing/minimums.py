"""Minimum charges: what is missing to them is a line of its own. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from voxfleet_billing.charge import Money
from voxfleet_billing.instants import DAY_MILLISECONDS, text_of
from voxfleet_billing.money import EXACT, ZERO
from voxfleet_billing.price_book import Lessor, MinimumPeriod, Rate
from voxfleet_billing.pricing import cost


@dataclass(slots=True)
class Reached:
    """What the lines of one Mac came to in one period."""

    lessor: Lessor
    rate: Rate
    """Of the period's first line."""
    start: str
    end: str
    hours: Decimal = ZERO
    contracted: Decimal = ZERO

    def add(self, money: Money) -> None:
        self.hours = EXACT.add(self.hours, money.quantity)
        self.contracted = EXACT.add(self.contracted, money.contracted_cost)

    def missing(self) -> Money | None:
        """What is missing to the lessor's minimum; None: nothing."""
        minimum = self.lessor.minimum_charge
        if minimum is None:
            return None
        if minimum.hours is not None:
            hours = EXACT.subtract(minimum.hours, self.hours)
            return cost(self.lessor, hours, self.rate.list_hourly, self.rate.hourly) if hours > ZERO else None
        amount = EXACT.subtract(minimum.amount or ZERO, self.contracted)
        return cost(self.lessor, Decimal(1), amount, amount, "Units") if amount > ZERO else None


def of_row(lessor: Lessor, rate: Rate, money: Money) -> Money | None:
    """What is missing to the minimum of a row; None: nothing, or the minimum is for another period."""
    if lessor.minimum_charge is None or lessor.minimum_charge.per is not MinimumPeriod.ROW:
        return None
    reached = Reached(lessor, rate, "", "")
    reached.add(money)
    return reached.missing()


class Minimums:
    """What the lines of a Mac came to, in each period for which their lessor has a minimum."""

    def __init__(self, month_start: int, month_end: int) -> None:
        """Milliseconds since 1970."""
        self._month = month_start, month_end
        self._reached: dict[tuple[int, str], Reached] = {}
        """By the start of the period, and the lessor."""

    def used(self, lessor: Lessor, rate: Rate, money: Money, start: int) -> None:
        self._add(lessor, rate, money, start, opens=True)

    def idled(self, lessor: Lessor, rate: Rate, money: Money, start: int) -> None:
        """An idle day has no minimum; a month has."""
        self._add(lessor, rate, money, start, opens=False)

    def by_time(self) -> Iterator[Reached]:
        for key in sorted(self._reached):
            yield self._reached[key]

    def _add(self, lessor: Lessor, rate: Rate, money: Money, start: int, *, opens: bool) -> None:
        minimum = lessor.minimum_charge
        if minimum is None or minimum.per is MinimumPeriod.ROW:
            return
        if minimum.per is MinimumPeriod.DAY:
            first = start - start % DAY_MILLISECONDS
            last = first + DAY_MILLISECONDS
        else:
            opens, (first, last) = True, self._month
        reached = self._reached.get((first, lessor.name))
        if reached is None:
            if not opens:
                return
            reached = self._reached[first, lessor.name] = Reached(lessor, rate, text_of(first), text_of(last))
        reached.add(money)
