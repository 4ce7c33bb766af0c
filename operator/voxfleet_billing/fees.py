"""Monthly fees, shared among namespaces and cost centres by their lane time. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from voxfleet_billing.charge import Charge, ChargeKind
from voxfleet_billing.money import shares
from voxfleet_billing.price_book import Lessor, MonthlyFee, applies_in
from voxfleet_billing.pricing import cost

Payer = tuple[str, str]
"""Namespace and billing key."""


class FeeShares:
    """The lane time of each payer, by lessor."""

    def __init__(self) -> None:
        self._milliseconds: dict[str, dict[Payer, int]] = {}

    def add(self, line: Charge) -> None:
        payers = self._milliseconds.setdefault(line.lessor, {})
        payer = (line.namespace, line.billing_key)
        payers[payer] = payers.get(payer, 0) + line.milliseconds

    def include(self, other: FeeShares) -> None:
        for lessor, found in other._milliseconds.items():
            payers = self._milliseconds.setdefault(lessor, {})
            for payer, used in found.items():
                payers[payer] = payers.get(payer, 0) + used

    def lines(self, lessor: Lessor, month: str) -> Iterator[Charge]:
        """The shares of each fee sum to it exactly. A fee that nobody caused stays whole, without a namespace."""
        payers = sorted((payer, used) for payer, used in self._milliseconds.get(lessor.name, {}).items() if used)
        for fee in lessor.monthly_fees:
            if not applies_in(fee, month):
                continue
            if not payers:
                yield _line(lessor, fee, ("", ""), fee.amount)
                continue
            parts = shares(fee.amount, [used for _, used in payers], lessor.rounding.unit)
            for (payer, _), part in zip(payers, parts, strict=True):
                yield _line(lessor, fee, payer, part)


def _line(lessor: Lessor, fee: MonthlyFee, payer: Payer, part: Decimal) -> Charge:
    namespace, billing_key = payer
    return Charge(
        ChargeKind.FIXED,
        correction=False,
        mac="",
        hardware_id="",
        start="",
        end="",
        milliseconds=0,
        time_class="",
        price_class="",
        namespace=namespace,
        billing_key=billing_key,
        lessor=lessor.name,
        sku=fee.name,
        money=cost(lessor, Decimal(1), part, part, "Months"),
        note=f"share of fee {fee.name}" if namespace or billing_key else f"fee {fee.name}",
    )
