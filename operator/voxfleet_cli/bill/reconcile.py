"""`voxfleet bill reconcile`: do job statuses, statements, signed rows and a CSV say the same?"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from voxfleet_api.kinds import AudioBatchJob, MachineHourStatement
from voxfleet_api.quantities import seconds_text
from voxfleet_billing.archive_reader import month_indexes
from voxfleet_billing.archive_store import ArchiveStore, open_archive
from voxfleet_billing.archived_charges import archived_charges
from voxfleet_billing.charge import Charge, ChargeKind
from voxfleet_billing.compared_line import Difference
from voxfleet_billing.csv_mapping import FOCUS_MAPPING, CsvMapping, MappingError, load_mapping, our_lines, their_lines
from voxfleet_billing.exports.csv_file import write_csv
from voxfleet_billing.exports.csv_text import csv_line, no_formula
from voxfleet_billing.line_comparison import LineComparison
from voxfleet_billing.money import plain
from voxfleet_billing.price_book import PriceBook
from voxfleet_billing.reconciliation import (
    SideDifference,
    SignedSums,
    Sums,
    job_differences,
    jobs_of_month,
    months_of,
    statement_differences,
)
from voxfleet_cli.bill.cluster_side import read_jobs
from voxfleet_cli.bill.inputs import (
    Archive,
    NotFound,
    Offline,
    Period,
    Prices,
    UsageError,
    exit_codes,
    from_cluster,
    idle_until,
    last_midnight,
    named,
    price_book,
    this_or,
)
from voxfleet_cli.bill.progress import Bar
from voxfleet_cli.columns import table
from voxfleet_cli.command_line import Exit, Kubeconfig, KubeContext
from voxfleet_cli.render import Output, document
from voxfleet_operator.kube import Kube

SHOWN_DIFFERENCES = 100
OUT_HEADER = (
    "kind",
    "line",
    "ourSeconds",
    "theirSeconds",
    "ourCost",
    "theirCost",
    "currency",
    "theirLineNumber",
    "sku",
)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What was compared with the signed rows, and what differs."""

    rows: int
    statements: int
    jobs: int
    unsettled_jobs: int
    sides: Sequence[SideDifference]
    lines: int | None
    """Of the CSV; None without one."""
    differences: Sequence[Difference]
    """The first ones."""
    line_differences: int
    """How many there are."""


def reconcile(
    period: Period = None,
    archive: Archive = None,
    prices: Prices = None,
    csv_file: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Lines to compare: our export in FOCUS, or with --mapping any CSV."),
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Which columns of the CSV say what: see docs/how-to/check-a-bill.md."),
    ] = None,
    lessor: Annotated[
        str | None, typer.Option(metavar="NAME", help="The CSV has the lines of this lessor alone.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all differing lines as a CSV.")] = None,
    offline: Offline = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="text, json or yaml.")] = Output.TEXT,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Hold job statuses, statements and a CSV against the signed rows of a month, to the millisecond and the line.

    Costs are compared where a price book is given. Memory stays bounded, however many lines there are.
    """
    with exit_codes():
        month, uri = this_or(period), named(archive)
        columns = _mapping(csv_file, mapping)
        book = price_book(prices, None, kubeconfig, context)
        if lessor is not None and book is not None:
            book.lessor(lessor)
        statements, jobs = ([], []) if offline else from_cluster(kubeconfig, context, _read)
        found = reconciled(
            uri, month, book, statements, jobs, ComparedCsv(csv_file, columns, lessor), out, cluster=not offline
        )
    if output is Output.TEXT:
        _print(month, found, out)
    else:
        print(document(_dumped(month, found), output))
    raise typer.Exit(Exit.REFUSED if found.sides or found.line_differences else Exit.OK)


@dataclass(frozen=True, slots=True)
class ComparedCsv:
    path: Path | None
    mapping: CsvMapping
    lessor: str | None

    def ours(self, lines: Iterable[Charge]) -> Iterator[Charge]:
        return (line for line in lines if self.lessor is None or line.lessor == self.lessor)


async def _read(kube: Kube) -> tuple[list[MachineHourStatement], list[AudioBatchJob]]:
    statements, _ = await kube.list(MachineHourStatement)
    return statements, await read_jobs(kube)


def _mapping(csv_file: Path | None, mapping: Path | None) -> CsvMapping:
    if mapping is None:
        return FOCUS_MAPPING
    if csv_file is None:
        raise UsageError("--mapping names the columns of a CSV: write --csv, too")
    try:
        return load_mapping(mapping.read_text(encoding="utf-8"))
    except (MappingError, UnicodeDecodeError) as error:
        raise MappingError(f"{mapping}: {error}") from error


def reconciled(
    uri: str,
    month: str,
    book: PriceBook | None,
    statements: Sequence[MachineHourStatement],
    jobs: Sequence[AudioBatchJob],
    file: ComparedCsv,
    out: Path | None,
    *,
    cluster: bool,
) -> Reconciled:
    store, signed = open_archive(uri), SignedSums()
    until = last_midnight() if file.path is None else idle_until(file.path)
    with LineComparison(once=file.mapping.once, tolerance=file.mapping.limits()) as comparison:
        with Bar("signed rows, by Mac", len(store.names(month))) as bar:
            indexes = bar.counted(month_indexes(store, month))
            lines = signed.watch(archived_charges(store, month, indexes, book, until=until))
            if file.path is not None:
                comparison.add_ours(our_lines(file.ours(lines), file.mapping))
            for _ in lines:  # those of other lessors, of which statements and jobs have the time, too
                pass
        count = None if file.path is None else _add_theirs(comparison, file.path, file.mapping)
        shown, differing = _differences(comparison, file.path is not None, out)
    if not signed.by_mac and not any(statement.spec.month == month for statement in statements):
        raise NotFound(f"{uri} has no rows of {month}")
    sides: list[SideDifference] = []
    chosen, unsettled = jobs_of_month(jobs, month)
    if cluster:
        sides += statement_differences(statements, month, signed.by_mac)
        sides += job_differences(chosen, _with_other_months(store, month, chosen, signed))
    return Reconciled(
        rows=sum(sums.rows for sums in signed.by_mac.values()),
        statements=sum(statement.spec.month == month for statement in statements),
        jobs=len(chosen),
        unsettled_jobs=unsettled,
        sides=sides,
        lines=count,
        differences=shown,
        line_differences=differing,
    )


def _add_theirs(comparison: LineComparison, path: Path, mapping: CsvMapping) -> int:
    """Returns how many lines the CSV has."""
    try:
        with path.open("rb") as file, Bar("CSV", path.stat().st_size) as bar:
            text = TextIOWrapper(file, encoding="utf-8-sig", newline="")
            return comparison.add_theirs(their_lines(bar.read(text, file), mapping))
    except (MappingError, UnicodeDecodeError) as error:
        raise MappingError(f"{path}: {error}") from error


def _differences(comparison: LineComparison, compared: bool, out: Path | None) -> tuple[list[Difference], int]:
    if not compared:
        return [], 0
    count = 0

    def counted() -> Iterator[Difference]:
        nonlocal count
        for difference in comparison.differences():
            count += 1
            yield difference

    if out is None:
        found = counted()
        shown = list(islice(found, SHOWN_DIFFERENCES))
        for _ in found:
            pass
        return shown, count
    shown = []

    def written() -> Iterator[str]:
        for difference in counted():
            if len(shown) < SHOWN_DIFFERENCES:
                shown.append(difference)
            yield csv_line(_cells(difference))

    write_csv(out, csv_line(OUT_HEADER), written())
    return shown, count


def _with_other_months(
    store: ArchiveStore, month: str, jobs: Sequence[AudioBatchJob], signed: SignedSums
) -> dict[str, Sums]:
    """The sums of jobs that began in an earlier month or ended in a later one, too."""
    found = dict(signed.by_job)
    wanted: dict[str, set[str]] = {}
    for job in jobs:
        for other in months_of(job):
            if other != month:
                wanted.setdefault(other, set()).add(job.metadata.uid)
    for other, uids in sorted(wanted.items()):
        for charge in archived_charges(store, other, month_indexes(store, other), None):
            if charge.owner_uid in uids and charge.kind is ChargeKind.USAGE:
                found.setdefault(charge.owner_uid, Sums()).add(charge)
    return found


def _cells(difference: Difference) -> list[str]:
    return [
        difference.kind,
        _text(difference.key),
        _seconds(difference.our_milliseconds),
        _seconds(difference.their_milliseconds),
        _cost(difference.our_cost),
        _cost(difference.their_cost),
        _text(difference.currency),
        str(difference.their_line or ""),
        _text(difference.sku),
    ]


def _text(sent: str) -> str:
    """A lessor sends the CSV: what it writes is no formula in ours, and no command to a terminal."""
    return no_formula(sent if sent.isprintable() else ascii(sent)[1:-1])


def _seconds(milliseconds: int | None) -> str:
    return "" if milliseconds is None else seconds_text(milliseconds)


def _cost(cost: Decimal | None) -> str:
    return "" if cost is None else plain(cost)


def _print(month: str, found: Reconciled, out: Path | None) -> None:
    if found.sides:
        rows = [[item.side, item.fact, item.told, item.signed] for item in found.sides]
        print(table(["WHO", "WHAT", "SAYS", "SIGNED ROWS SAY"], rows))
    if found.differences:
        print(table([name.upper() for name in OUT_HEADER], map(_cells, found.differences)))
        left = found.line_differences - len(found.differences)
        if left > 0:
            where = str(out) if out is not None else "--out FILE"
            print(f"{left} more: {where} has all of them")
    differences = len(found.sides) + found.line_differences
    csv_part = "" if found.lines is None else f", {found.lines} lines of the CSV"
    print(
        f"{month}: {found.rows} signed rows, {found.statements} statements, {found.jobs} settled jobs{csv_part}:"
        f" {differences or 'no'} {'difference' if differences == 1 else 'differences'}"
    )
    if found.unsettled_jobs:
        print(f"{found.unsettled_jobs} jobs are not settled yet, and were left out", file=sys.stderr)


def _dumped(month: str, found: Reconciled) -> dict[str, object]:
    return {
        "month": month,
        "signedRows": found.rows,
        "statements": found.statements,
        "settledJobs": found.jobs,
        "unsettledJobs": found.unsettled_jobs,
        "csvLines": found.lines,
        "sides": [
            {"side": item.side, "fact": item.fact, "told": item.told, "signed": item.signed} for item in found.sides
        ],
        "lineDifferences": found.line_differences,
        "lines": [dict(zip(OUT_HEADER, _cells(item), strict=True)) for item in found.differences],
    }
