"""`voxfleet report`: the command."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_billing.archive_reader import month_indexes
from voxfleet_billing.archive_store import open_archive
from voxfleet_billing.archived_charges import archived_charges
from voxfleet_billing.charge import Charge
from voxfleet_billing.job_time import JobLines, job_lines
from voxfleet_billing.money import plain
from voxfleet_billing.month_report import month_report
from voxfleet_billing.nights import night_clock
from voxfleet_billing.price_book import PriceBook
from voxfleet_cli.bill.inputs import (
    EPILOG,
    Archive,
    Period,
    Prices,
    UsageError,
    exit_codes,
    last_midnight,
    named,
    price_book,
    this_or,
)
from voxfleet_cli.command_line import Exit, Kubeconfig, KubeContext, Namespace, job_named, with_kube
from voxfleet_cli.report.job_results import read_folder, read_report
from voxfleet_cli.report.settled_time import time_of_now
from voxfleet_operator.kube import Kube
from voxfleet_operator.reconcile.shard.new_shard import belongs
from voxfleet_report.job_page import job_page
from voxfleet_report.month_page import month_page


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The report of one job."""

    job: str
    namespace: str | None
    out: Path
    results: Path | None
    archive: str | None
    book: PriceBook | None


def add_report(app: typer.Typer) -> None:
    app.command(
        name="report",
        epilog="Examples: voxfleet report nightly -n calls --out report.html; voxfleet report nightly -n calls"
        " --archive s3://ledger/ --price-book price-book.yaml; voxfleet report --period 2026-11"
        f" --archive s3://ledger/ --price-book price-book.yaml --out month.html. {EPILOG}",
    )(report)


def report(
    job: Annotated[str | None, typer.Argument(help="The job. Without one, the month's report is written.")] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The HTML file.")] = Path("report.html"),
    namespace: Namespace = None,
    results: Annotated[
        Path | None,
        typer.Option("--results", metavar="DIR", help="A copy of the job's output folder; default: where it is."),
    ] = None,
    period: Period = None,
    archive: Archive = None,
    prices: Prices = None,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Write the report of a job, or of a month, as one HTML file that opens anywhere.

    A job's report has its machine time as it is known now, and with an archive and a price book what it costs. A
    month's is made of the ledger archive.
    """
    with exit_codes():
        if job is not None:
            if period is not None:
                raise UsageError("name either a job or --period, which is of a month's report")
            if prices is not None and not archive:
                raise UsageError("--price-book prices the signed rows: name --archive, too")
            book = price_book(prices, namespace, kubeconfig, context)
            wanted = _Wanted(job, namespace, out, results, archive, book)
            raise typer.Exit(with_kube(kubeconfig, context, partial(_write_job, wanted)))
        month, uri = this_or(period), named(archive)
        book = price_book(prices, namespace, kubeconfig, context)
        notes = () if book is not None else ("Without --price-book nothing has a price, and there are no budgets.",)
        found = month_report(month, _lines(uri, month, book), book, night_clock(book), notes)
        _write(out, month_page(found))


async def _write_job(wanted: _Wanted, kube: Kube) -> Exit:
    job = await job_named(kube, wanted.namespace, wanted.job)
    if wanted.results is None or job.status.results is None:
        found = read_report(job)
    else:
        found = read_folder(wanted.results, job.status.results.sha256)
    shards = [shard for shard in (await kube.list(AudioShard, job.metadata.namespace))[0] if belongs(shard, job)]
    known = () if found.machine_time is None else found.machine_time.macs
    archived = JobLines((), (), 0) if not wanted.archive else _archived(wanted.archive, job, wanted.book)
    now = time_of_now(job, shards, known, archived.macs)
    costs = [(currency, plain(cost)) for currency, cost in archived.costs]
    unpriced = archived.unpriced if wanted.book is not None else 0
    below = f"{unpriced} lines of its bill have no price, and are in no cost." if unpriced else None
    _write(wanted.out, job_page(found.model_copy(update={"machine_time": now}), below, costs))
    return Exit.OK


def _archived(uri: str, job: AudioBatchJob, book: PriceBook | None) -> JobLines:
    lines = (line for month in _months(job) for line in _lines(uri, month, book))
    return job_lines(lines, job.metadata.uid)


def _months(job: AudioBatchJob) -> Iterator[str]:
    """From its creation until now: rows that came late lie in the month in which they came."""
    first = datetime.fromisoformat(job.metadata.creation_timestamp or datetime.now(UTC).isoformat())
    last = datetime.now(UTC)
    for number in range(first.year * 12 + first.month - 1, last.year * 12 + last.month):
        yield f"{number // 12:04d}-{number % 12 + 1:02d}"


def _lines(uri: str, month: str, book: PriceBook | None) -> Iterator[Charge]:
    """As `voxfleet bill` has them: the time of today is not idle yet."""
    store = open_archive(uri)
    return archived_charges(store, month, month_indexes(store, month), book, until=last_midnight())


def _write(file: Path, text: str) -> None:
    """Whole or not at all."""
    unfinished = file.with_name(f".{file.name}.unfinished")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    print(file)
