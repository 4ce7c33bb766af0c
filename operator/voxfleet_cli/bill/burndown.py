"""`voxfleet bill burndown`: a month's budget against its nights."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer

from voxfleet_billing.archive_format import TimeClass
from voxfleet_billing.archive_reader import month_indexes, read_rows
from voxfleet_billing.archive_store import open_archive
from voxfleet_billing.burndown import COLUMNS, BurndownNight, hours
from voxfleet_billing.burndown import burndown as nights_left
from voxfleet_billing.exports.csv_file import write_csv
from voxfleet_billing.exports.csv_text import csv_line
from voxfleet_billing.money import MILLISECONDS_AN_HOUR
from voxfleet_billing.nights import night_clock, night_in, nights_of
from voxfleet_billing.price_book import Budget, PriceBook
from voxfleet_cli.bill.charts import bars
from voxfleet_cli.bill.inputs import (
    Archive,
    NotFound,
    Period,
    Prices,
    UsageError,
    exit_codes,
    named,
    price_book,
    this_or,
)
from voxfleet_cli.bill.show import draws
from voxfleet_cli.columns import table
from voxfleet_cli.command_line import Exit, Kubeconfig, KubeContext
from voxfleet_cli.render import Output, document


def burndown(
    period: Period = None,
    billing_key: Annotated[str | None, typer.Option(metavar="KEY", help="Whose budget: that of a billing key.")] = None,
    of_namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", metavar="NAME", help="Whose budget: that of a namespace.")
    ] = None,
    archive: Archive = None,
    prices: Prices = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write the nights as a CSV, too; - is stdout.")
    ] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Bars of what is left, against what should be.")] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="text, json or yaml.")] = Output.TEXT,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Show how a month's budget of machine-hours is used up, night by night, and how it will end at this pace.

    Budget and nights are those of the price book. The exit code is 1 once the budget is exceeded.
    """
    with exit_codes():
        month, uri = this_or(period), named(archive)
        book = price_book(prices, None, kubeconfig, context)
        budget = _budget(book, billing_key, of_namespace)
        clock = night_clock(book)
        nights = nights_of(month)
        used: Counter[date] = Counter()
        store = open_archive(uri)
        for index in month_indexes(store, month):
            for row in read_rows(store, index):
                mine = (
                    row.billing_key == billing_key if billing_key is not None else row.owner_namespace == of_namespace
                )
                if mine and row.time_class != TimeClass.FOREIGN:
                    used[night_in(nights, clock, row.wall_start)] += row.milliseconds
        total = int(budget.machine_hours_per_month * MILLISECONDS_AN_HOUR)
        lines = list(nights_left(nights, used, total, datetime.now(UTC), clock))
        if csv_file is not None and str(csv_file) != "-":
            write_csv(csv_file, csv_line(COLUMNS), (csv_line(line.cells()) for line in lines))
    _print(lines, output, csv=str(csv_file) == "-", plot=plot)
    raise typer.Exit(Exit.REFUSED if lines[-1].cumulative > total else Exit.OK)


def _budget(book: PriceBook | None, billing_key: str | None, namespace: str | None) -> Budget:
    if (billing_key is None) == (namespace is None):
        raise UsageError("write either --billing-key KEY or --namespace NAME")
    if book is None:
        raise UsageError("budgets stand in the price book: name --price-book")
    for budget in book.budgets:
        if (budget.billing_key, budget.namespace) == (billing_key, namespace):
            return budget
    raise NotFound(f"the price book has no budget of {billing_key or namespace}; add it below budgets")


def _print(lines: Sequence[BurndownNight], output: Output, *, csv: bool, plot: bool) -> None:
    if csv:
        print("\n".join(",".join(cells) for cells in (COLUMNS, *(line.cells() for line in lines))))
        return
    if output is not Output.TEXT:
        print(document([dict(zip(COLUMNS, line.cells(), strict=True)) for line in lines], output))
        return
    print(table([name.upper() for name in COLUMNS], (line.cells() for line in lines)))
    if plot:
        plain = not draws()
        columns = shutil.get_terminal_size((100, 24)).columns
        shown = [(f"{line.night:%m-%d}", max(0, line.forecast_remaining), _left(line)) for line in lines]
        print("\nHours left of the budget (after ~: as forecast), and what should be left")
        print("\n".join(bars([("", lines[0].budget, "budget"), *shown], columns, plain=plain)))
    last = lines[-1]
    print(
        f"At this pace {hours(last.forecast_remaining)} of {hours(last.budget)} hours are left at the end",
        file=sys.stderr,
    )


def _left(line: BurndownNight) -> str:
    return f"{'~' if line.used is None else ''}{hours(line.forecast_remaining)} ({hours(line.ideal_remaining)})"
