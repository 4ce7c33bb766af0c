"""What machine time is expected to cost, where all prices are known."""

from __future__ import annotations

from datetime import date

import pytest
from tests.rig.price_books import book, lessor, rate, sku

from voxfleet_api.kinds.job_status import ExpectedCost
from voxfleet_billing.expected_cost import Rented, hourly_price
from voxfleet_cli.expected_cost_text import cost_text
from voxfleet_operator.reconcile.job.estimate import expected_cost

DAY = date(2026, 11, 20)
BOOK = book(
    lessor(skus=[sku(), sku(name="m2", rates=[rate("2026-01-01", contractedHourly="1.25")])]),
    lessor(name="other", currency="USD"),
)


@pytest.mark.parametrize(
    ("macs", "hourly"),
    [
        ([], None),
        ([Rented("acme", "m4pro-48")], "2 EUR"),
        ([Rented("acme", "m2")], "1.25 EUR"),
        ([Rented("acme", "m2"), Rented("acme", "m4pro-48")], "2 EUR"),  # the dearest
        ([Rented("acme", "m2"), Rented("other", "m4pro-48")], None),  # two currencies
        ([Rented("acme", "m2"), Rented("acme", "m9")], None),  # one without a price
        ([Rented("nobody", "m2")], None),
        ([Rented("acme", None)], None),
    ],
)
def test_the_price_is_the_highest_and_known_of_all_macs_or_of_none(macs: list[Rented], hourly: str | None) -> None:
    price = hourly_price(BOOK, macs, DAY)
    assert (None if price is None else f"{price.hourly_text} {price.currency}") == hourly


def test_without_a_price_book_or_before_its_rates_nothing_is_known() -> None:
    assert hourly_price(None, [Rented("acme", "m2")], DAY) is None
    assert hourly_price(BOOK, [Rented("acme", "m2")], date(2025, 12, 31)) is None


def test_the_cost_is_exact_and_rounded_as_the_lessor_does() -> None:
    price = hourly_price(BOOK, [Rented("acme", "m2")], DAY)
    assert price is not None
    cost = expected_cost(price, 4332, 7200)
    assert cost == ExpectedCost(currency="EUR", hourly="1.25", amount="1.50", limit="2.50")
    assert cost_text(cost) == ("at most 1.50 EUR (at 1.25 an hour; its maxMachineSeconds would cost 2.50)")
    assert cost_text(expected_cost(price, 3600, None)) == "at most 1.25 EUR (at 1.25 an hour)"
