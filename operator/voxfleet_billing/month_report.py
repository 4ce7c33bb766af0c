"""Sums the lines of a month's bill up for its report. Pure; memory is that of nights, Macs and payers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from voxfleet_billing.archive_format import TimeClass
from voxfleet_billing.bill_totals import Total
from voxfleet_billing.budget_use import Payer, budget_uses
from voxfleet_billing.charge import Charge, ChargeKind
from voxfleet_billing.money import plain
from voxfleet_billing.nights import UTC_DAYS, NightClock, night_in, nights_of
from voxfleet_billing.price_book import PriceBook
from voxfleet_report.month_report import BudgetLine, MonthReport, Part, Times


def month_report(
    month: str,
    charges: Iterable[Charge],
    book: PriceBook | None,
    clock: NightClock = UTC_DAYS,
    notes: tuple[str, ...] = (),
) -> MonthReport:
    """`charges`: all of the month, in any order. Time of another control plane is counted there, and left out here."""
    nights = {night: Total() for night in nights_of(month)}
    macs: defaultdict[str, Total] = defaultdict(Total)
    payers: defaultdict[str, Total] = defaultdict(Total)
    used: defaultdict[Payer, int] = defaultdict(int)
    whole = Total()
    in_order = list(nights)
    for charge in charges:
        if charge.time_class == TimeClass.FOREIGN:
            continue
        whole.add(charge)
        nights[night_in(in_order, clock, charge.start)].add(charge)
        if charge.mac:
            macs[charge.mac].add(charge)
        if charge.kind is ChargeKind.USAGE:
            payers[_payer(charge)].add(charge)
            used[Payer(charge.namespace, charge.billing_key)] += charge.milliseconds
    return MonthReport(
        month=month,
        whole=_part("all", whole),
        audio=whole.audio,
        clips=whole.clips,
        rows=whole.rows,
        corrections=whole.corrections,
        unpriced_lines=whole.unpriced,
        nights=tuple(_part(night.isoformat(), total) for night, total in nights.items()),
        payers=_most_first(payers),
        macs=_most_first(macs),
        budgets=() if book is None else _budgets(book, used, month),
        price_book_digest=None if book is None else book.digest,
        notes=notes,
    )


def _payer(charge: Charge) -> str:
    if charge.team:
        return charge.team
    return f"{charge.namespace} {charge.billing_key}".strip() or "-"


def _part(name: str, total: Total) -> Part:
    classes = total.by_class
    return Part(
        name=name,
        times=Times(
            productive=classes.get(TimeClass.PRODUCTIVE, 0),
            retry=classes.get(TimeClass.RETRY, 0),
            overhead=classes.get(TimeClass.OVERHEAD, 0),
            orphaned=classes.get(TimeClass.ORPHANED, 0),
            idle=total.idle,
        ),
        estimated=total.estimated,
        costs=tuple((currency, plain(cost)) for currency, cost in sorted(total.costs.items())),
    )


def _most_first(totals: Mapping[str, Total]) -> tuple[Part, ...]:
    return tuple(
        _part(name, total) for name, total in sorted(totals.items(), key=lambda item: (-item[1].machine, item[0]))
    )


def _budgets(book: PriceBook, used: Mapping[Payer, int], month: str) -> tuple[BudgetLine, ...]:
    return tuple(
        BudgetLine(use.name, use.used_milliseconds, use.limit_milliseconds, use.percent, use.budget.policy.value)
        for use in budget_uses(book.budgets, used, month)
    )
