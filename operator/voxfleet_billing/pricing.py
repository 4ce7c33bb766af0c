"""What a line costs: the rate that applies, minimum charges, commitments. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import InitVar, dataclass, field
from datetime import date
from decimal import Decimal
from itertools import chain

from voxfleet_billing.archive_format import MacFacts
from voxfleet_billing.charge import Money
from voxfleet_billing.instants import day_of
from voxfleet_billing.money import EXACT, ZERO, hours_of, rounded
from voxfleet_billing.price_book import Commitment, Lessor, PriceBook, Rate, RoundedAt, Rounding, applies_in

NO_LESSOR = "no price: the Mac had no lessor; set spec.billing.lessor and sku of its MacAgent"
NO_PRICE_BOOK = "no price book was given"

Hours = Mapping[str, Decimal]
"""Of commitments, by their names."""


@dataclass(frozen=True, slots=True)
class Price:
    """What applies to the time of one Mac, price class and day."""

    lessor: Lessor | None = None
    rate: Rate | None = None
    note: str = ""
    """Why there is no rate."""


@dataclass(slots=True)
class OpenCommitment:
    """What is left of a commitment in this month. Time that does not fit as a whole is charged at the rate."""

    lessor: Lessor
    commitment: Commitment
    left_hours: Decimal

    @property
    def name(self) -> str:
        return self.commitment.name_at(self.lessor.name)

    @property
    def left_cost(self) -> Decimal:
        return EXACT.multiply(self.left_hours, self.commitment.hourly)

    def take(self, quantity: Decimal) -> Decimal:
        """Returns what this much of it cost."""
        self.left_hours = EXACT.subtract(self.left_hours, quantity)
        return EXACT.multiply(quantity, self.commitment.hourly)


@dataclass(slots=True)
class Pricing:
    """The price book in one month, with what is left of its commitments."""

    book: PriceBook | None
    month: str
    left: InitVar[Hours | None] = None
    """None: nothing of the commitments is used yet."""
    commitments: dict[str, list[OpenCommitment]] = field(default_factory=dict)
    """By lessor; those to a SKU first."""
    _prices: dict[tuple[str | None, str | None, str | None, str], Price] = field(default_factory=dict)

    def __post_init__(self, left: Hours | None) -> None:
        for lessor in () if self.book is None else self.book.lessors:
            chosen = [commitment for commitment in lessor.commitments if applies_in(commitment, self.month)]
            self.commitments[lessor.name] = [
                OpenCommitment(lessor, entry, entry.hours_per_month)
                for entry in sorted(chosen, key=lambda entry: (entry.sku is None, entry.sku or ""))
            ]
        if left is not None:
            for found in self._open():
                found.left_hours = left[found.name]

    def hours_left(self) -> Hours:
        return {found.name: found.left_hours for found in self._open()}

    def use(self, hours: Hours) -> bool:
        """Takes these from the commitments, if all of them are left."""
        if any(hours[found.name] > found.left_hours for found in self._open()):
            return False
        for found in self._open():
            found.take(hours[found.name])
        return True

    def _open(self) -> Iterator[OpenCommitment]:
        return chain.from_iterable(self.commitments.values())

    def price(self, facts: MacFacts | None, price_class: str | None, day: str) -> Price:
        """Of a day such as `2026-11-20`."""
        key = (None, None, price_class, day) if facts is None else (facts.lessor, facts.sku, price_class, day)
        found = self._prices.get(key)
        if found is None:
            if len(self._prices) > 100_000:  # only wrong clocks make as many days
                self._prices.clear()
            found = self._prices[key] = self._price(*key[:3], day_of(day))
        return found

    def _price(self, lessor_name: str | None, sku_name: str | None, price_class: str | None, day: date) -> Price:
        if self.book is None:
            return Price(note=NO_PRICE_BOOK)
        if lessor_name is None:
            return Price(note=NO_LESSOR)
        lessor = next((entry for entry in self.book.lessors if entry.name == lessor_name), None)
        if lessor is None:
            return Price(note=f"no price: the price book has no lessor {lessor_name}")
        sku = lessor.sku_for(sku_name, price_class)
        if sku is None:
            of_class = f" for {price_class}"
            if price_class is None:
                of_class = " without priceClass, as idle time needs"
            return Price(lessor, note=f"no price: lessor {lessor_name} has no SKU {sku_name}{of_class}")
        rate = sku.rate_on(day)
        if rate is None:
            return Price(lessor, note=f"no price: SKU {sku_name} of lessor {lessor_name} has no rate on {day}")
        return Price(lessor, rate)

    def commitment_for(self, lessor: Lessor, sku: str | None, quantity: Decimal) -> OpenCommitment | None:
        """The first with room for this much."""
        for found in self.commitments[lessor.name]:
            if found.commitment.sku in (None, sku) and quantity <= found.left_hours:
                return found
        return None


def cost(
    lessor: Lessor, quantity: Decimal, list_price: Decimal, contracted_price: Decimal, unit: str = "Hours"
) -> Money:
    """`quantity` units at these prices."""
    contracted = EXACT.multiply(contracted_price, quantity)
    billed = at_line(lessor.rounding, contracted)
    list_cost = contracted if list_price is contracted_price else EXACT.multiply(list_price, quantity)
    return Money(lessor.currency, list_price, contracted_price, list_cost, contracted, billed, billed, quantity, unit)


def time_cost(price: Price, milliseconds: int, *, idle: bool = False) -> Money | None:
    """None without a rate."""
    if price.lessor is None or price.rate is None:
        return None
    rate, quantity = price.rate, hours_of(milliseconds)
    if idle:
        return cost(price.lessor, quantity, rate.idle_hourly, rate.idle_hourly)
    return cost(price.lessor, quantity, rate.list_hourly, rate.hourly)


def within_commitment(money: Money, commitment: OpenCommitment) -> Money:
    """The same time, paid with the commitment."""
    part = commitment.take(money.quantity)
    list_price, price, quantity, unit = money.list_unit_price, money.contracted_unit_price, money.quantity, money.unit
    return Money(money.currency, list_price, price, money.list_cost, money.contracted_cost, ZERO, part, quantity, unit)


def at_line(rounding: Rounding, value: Decimal) -> Decimal:
    return rounded(value, rounding.unit, rounding.mode) if rounding.at is RoundedAt.LINE else value
