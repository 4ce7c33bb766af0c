"""The lines of a month's bill, out of the ledger archive and the price book. Pure, and one Mac at a time in memory.

Their order: the lines of each Mac, by its name; then what belongs to no Mac: commitments, monthly fees, the rounding of
invoices. The same archive and price book give the same lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from voxfleet_billing.archive_format import MonthIndex
from voxfleet_billing.archived_row import ArchivedRow
from voxfleet_billing.charge import Charge, ChargeKind, CommitmentStatus, Money
from voxfleet_billing.instants import month_bounds, text_of
from voxfleet_billing.mac_charges import MacCharges, Settlements
from voxfleet_billing.money import EXACT, ZERO, rounded
from voxfleet_billing.month_sums import MonthSums
from voxfleet_billing.price_book import Lessor, PriceBook, RoundedAt
from voxfleet_billing.pricing import OpenCommitment, Pricing, cost


def charges(
    month: str,
    indexes: Iterable[MonthIndex],
    rows_of: Callable[[MonthIndex], Iterable[ArchivedRow]],
    settlements_of: Callable[[MonthIndex], Settlements],
    book: PriceBook | None,
    *,
    until: int | None = None,
) -> Iterator[Charge]:
    """`indexes`: of that month, one a Mac, by name. `until` (milliseconds since 1970): later time is not idle yet.

    Without a price book no line has money; a line that has no price says why in its note. Raises Unbillable, and what
    `indexes` and `rows_of` raise.
    """
    macs = MacCharges(month, book, until)
    for index in indexes:
        yield from macs.lines(index, rows_of(index), settlements_of(index))
    if book is not None:
        yield from month_charges(month, book, macs.pricing, macs.sums)


def month_charges(month: str, book: PriceBook, pricing: Pricing, sums: MonthSums) -> Iterator[Charge]:
    """What belongs to no Mac. `pricing`: with what all Macs left of the commitments; `sums`: of all Macs."""
    start, end = map(text_of, month_bounds(month))
    for lessor in book.lessors:
        for line in _of_lessor(lessor, pricing, sums):
            team = book.team(line.billing_key, line.namespace) if line.kind is ChargeKind.FIXED else ""
            placed = replace(line, start=start, end=end, team=team)
            sums.bill(placed)
            yield placed
    for lessor in book.lessors:
        rounding = _rounding(lessor, sums)
        if rounding is not None:
            yield replace(rounding, start=start, end=end)


def _of_lessor(lessor: Lessor, pricing: Pricing, sums: MonthSums) -> Iterator[Charge]:
    for commitment in pricing.commitments[lessor.name]:
        yield from _commitment(commitment)
    yield from sums.shares.lines(lessor, pricing.month)


def _commitment(found: OpenCommitment) -> Iterator[Charge]:
    lessor, entry = found.lessor, found.commitment
    whole = cost(lessor, entry.hours_per_month, entry.hourly, entry.hourly)
    bought = _line(ChargeKind.COMMITMENT, lessor, replace(whole, effective_cost=ZERO), "commitment")
    bought = replace(bought, sku=entry.sku or "", commitment=found.name)
    yield replace(bought, commitment_status=CommitmentStatus.PURCHASED)
    if found.left_hours > ZERO:
        unused = cost(lessor, found.left_hours, entry.hourly, entry.hourly)
        money = replace(unused, billed_cost=ZERO, effective_cost=found.left_cost)
        yield replace(bought, money=money, commitment_status=CommitmentStatus.UNUSED, note="commitment not used")


def _rounding(lessor: Lessor, sums: MonthSums) -> Charge | None:
    """What the rounding of its invoice adds; None: nothing."""
    rule, total = lessor.rounding, sums.billed.get(lessor.name)
    if total is None or rule.at is not RoundedAt.INVOICE:
        return None
    difference = EXACT.subtract(rounded(total, rule.unit, rule.mode), total)
    if not difference:
        return None
    money = Money(lessor.currency, ZERO, ZERO, ZERO, ZERO, difference, difference)
    return _line(ChargeKind.ROUNDING, lessor, money, f"invoice rounded to {rule.unit}: {rule.mode}")


def _line(kind: ChargeKind, lessor: Lessor, money: Money, note: str) -> Charge:
    line = Charge(kind, False, "", "", "", "", 0, "", "")
    return replace(line, lessor=lessor.name, money=money, note=note)
