"""What machine time is expected to cost before it is used. A guess in money, which nobody is billed for. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from voxfleet_billing.money import EXACT, hours_of, plain, rounded
from voxfleet_billing.price_book import PriceBook, Rounding

CLASS = "Offline"
"""Batch work."""


class Rented(NamedTuple):
    """As what a Mac is paid."""

    lessor: str
    sku: str | None


@dataclass(frozen=True, slots=True)
class HourlyPrice:
    """The highest contracted price of a lane-hour on some Macs."""

    currency: str
    hourly: Decimal
    rounding: Rounding

    @property
    def hourly_text(self) -> str:
        return plain(self.hourly)

    def amount_text(self, milliseconds: int) -> str:
        """`12.40`: of so much machine time, rounded as the lessor does."""
        amount = EXACT.multiply(hours_of(milliseconds), self.hourly)
        return f"{rounded(amount, self.rounding.unit, self.rounding.mode):f}"


def hourly_price(book: PriceBook | None, macs: Iterable[Rented], day: date) -> HourlyPrice | None:
    """None if no Mac is rented, if the price of one is unknown, or if they are paid in several currencies.

    Minimum charges, commitments and fees are left out: they depend on all that a month brings.
    """
    found: list[HourlyPrice] = []
    for lessor_name, sku_name in sorted(set(macs), key=lambda mac: (mac.lessor, mac.sku or "")):
        lessor = None if book is None else next((item for item in book.lessors if item.name == lessor_name), None)
        sku = None if lessor is None else lessor.sku_for(sku_name, CLASS)
        rate = None if sku is None else sku.rate_on(day)
        if lessor is None or rate is None:
            return None
        found.append(HourlyPrice(lessor.currency, rate.hourly, lessor.rounding))
    if len({price.currency for price in found}) != 1:
        return None
    return max(found, key=lambda price: price.hourly)
