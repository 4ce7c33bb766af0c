"""`voxfleet bill show`: what a month comes to, by Mac, namespace, team, billing key, lane, class or job."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer

from voxfleet_api.kinds import MachineHourStatement
from voxfleet_api.quantities import hours_text
from voxfleet_billing.archive_reader import month_indexes
from voxfleet_billing.archive_store import open_archive
from voxfleet_billing.archived_charges import archived_charges
from voxfleet_billing.bill_totals import BillTotals, By, Total, bill_totals, statement_totals
from voxfleet_billing.money import plain
from voxfleet_billing.price_book import PriceBook
from voxfleet_cli.bill.charts import bars
from voxfleet_cli.bill.inputs import (
    Archive,
    Period,
    Prices,
    UsageError,
    exit_codes,
    from_cluster,
    last_midnight,
    price_book,
    this_or,
)
from voxfleet_cli.columns import table
from voxfleet_cli.command_line import Kubeconfig, KubeContext
from voxfleet_cli.render import Output, document
from voxfleet_operator.kube import Kube

BY_STATEMENTS = (By.MAC, By.CLASS)


class ListOutput(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


def show(
    period: Period = None,
    by: Annotated[By, typer.Option(help="What the lines are of.")] = By.MAC,
    archive: Archive = None,
    prices: Prices = None,
    chart: Annotated[bool, typer.Option("--chart", help="Bars of the machine-hours, too.")] = False,
    output: Annotated[ListOutput, typer.Option("--output", "-o", help="table, wide, json or yaml.")] = ListOutput.TABLE,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Show machine-hours, Mac-hours and cost of a month.

    Machine-hours are lane time; Mac-hours are time in which a Mac held at least one lane. Without an archive the
    statements in the cluster are summed up, by Mac or class, and nothing has a price.
    """
    with exit_codes():
        month = this_or(period)
        book = price_book(prices, None, kubeconfig, context)
        if not archive:
            if by not in BY_STATEMENTS:
                told = " or ".join(BY_STATEMENTS)
                raise UsageError(f"--by {by} needs the signed rows: name --archive URI. Statements sum up by {told}")
            totals = statement_totals(from_cluster(kubeconfig, context, _statements), month, by)
            missing = "from the statements alone: no Mac-hours, idle time or cost; name --archive URI for those"
        else:
            totals = _from_archive(archive, month, by, book)
            missing = "" if book is not None else "without --price-book nothing has a price"
    _print(month, by, totals, missing, output, chart=chart)


def _from_archive(uri: str, month: str, by: By, book: PriceBook | None) -> BillTotals:
    store = open_archive(uri)
    lines = archived_charges(store, month, month_indexes(store, month), book, until=last_midnight())
    return bill_totals(lines, by)


async def _statements(kube: Kube) -> Sequence[MachineHourStatement]:
    return (await kube.list(MachineHourStatement))[0]


def _print(month: str, by: By, totals: BillTotals, missing: str, output: ListOutput, *, chart: bool) -> None:
    if output in (ListOutput.JSON, ListOutput.YAML):
        groups = [{by.value: name, **dumped(total)} for name, total in totals.groups.items()]
        told = {"month": month, "by": by.value, "groups": groups, "total": dumped(totals.whole), "missing": missing}
        print(document(told, Output(output.value)))
        return
    if not totals.groups:
        print(f"nothing was billed in {month}", file=sys.stderr)
        return
    wide = output is ListOutput.WIDE
    shown = [*totals.groups.items(), ("TOTAL", totals.whole)]
    print(table(_header(by, wide=wide), [_cells(name, total, wide=wide) for name, total in shown]))
    if chart:
        lines = [(name, total.machine, hours_text(total.machine)) for name, total in totals.groups.items()]
        columns = shutil.get_terminal_size((100, 24)).columns
        print("\nMachine-hours by " + by.value)
        print("\n".join(bars(lines, columns, plain=not draws())))
    if totals.whole.estimated:
        estimated = hours_text(totals.whole.estimated)
        print(
            f"{estimated} hours are estimated, of Macs that are gone, and in no sum: -o wide says where",
            file=sys.stderr,
        )
    if missing:
        print(missing, file=sys.stderr)


def draws() -> bool:
    """Whether blocks are seen as such: a terminal whose encoding has them."""
    return sys.stdout.isatty() and "utf" in (sys.stdout.encoding or "").lower() and os.environ.get("TERM") != "dumb"


def dumped(total: Total) -> dict[str, object]:
    return {
        "machineHours": hours_text(total.machine),
        "machineMilliseconds": total.machine,
        "classes": dict(sorted(total.by_class.items())),
        "macWallMilliseconds": total.mac_wall,
        "idleMilliseconds": total.idle,
        "estimatedMilliseconds": total.estimated,
        "correctionMilliseconds": total.corrections,
        "audioMilliseconds": total.audio,
        "clips": total.clips,
        "rows": total.rows,
        "costs": {currency: plain(cost) for currency, cost in sorted(total.costs.items())},
        "unpricedLines": total.unpriced,
    }


def _header(by: By, *, wide: bool) -> list[str]:
    more = ["IDLE", "ESTIMATED", "CORRECTIONS", "AUDIO", "CLIPS", "ROWS", "UNPRICED"] if wide else []
    return [by.value.upper(), "MACHINE-HOURS", "PRODUCTIVE", "RETRY", "OVERHEAD", "MAC-HOURS", *more, "COST"]


def _cells(name: str, total: Total, *, wide: bool) -> list[str]:
    classes = [hours_text(total.by_class.get(item, 0)) for item in ("Productive", "Retry", "Overhead")]
    more = [hours_text(total.idle), hours_text(total.estimated), hours_text(total.corrections), hours_text(total.audio)]
    more += [str(total.clips), str(total.rows), str(total.unpriced)]
    cost = " + ".join(f"{plain(cost)} {currency}" for currency, cost in sorted(total.costs.items()))
    wall = hours_text(total.mac_wall) if total.mac_wall or not total.machine else "?"
    return [name, hours_text(total.machine), *classes, wall, *(more if wide else []), cost or "-"]
