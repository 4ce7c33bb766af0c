"""`voxfleet bill dispute ROW…`: everything provable about lines of a bill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from voxfleet_api.kinds import AudioBatchJob, AudioShard, VoiceEndpoint
from voxfleet_billing.archive_access import ObjectDamaged, ObjectMissing
from voxfleet_billing.archive_format import MonthIndex
from voxfleet_billing.archive_reader import month_indexes
from voxfleet_billing.archive_store import ArchiveStore, open_archive
from voxfleet_billing.archived_charges import archived_charges
from voxfleet_billing.charge import Charge
from voxfleet_billing.dispute import BadRowName, RowName, evidence_of, explained, holds
from voxfleet_billing.mac_charges import Unbillable
from voxfleet_billing.price_book import PriceBook
from voxfleet_billing.signing_keys import raw_text
from voxfleet_billing.verification_task import segment_bytes
from voxfleet_cli.bill.cluster_side import ClusterSide, read_cluster
from voxfleet_cli.bill.inputs import (
    Archive,
    NotFound,
    Offline,
    Prices,
    UsageError,
    exit_codes,
    from_cluster,
    named,
    price_book,
    this_or,
)
from voxfleet_cli.bill.key_files import PublicKeys, read_public_keys
from voxfleet_cli.command_line import Exit, Kubeconfig, KubeContext
from voxfleet_cli.render import Output, document
from voxfleet_operator.kube import Kube

MONTHS_BACK = 24
Plain = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Known:
    """What the cluster says, as far as it is asked and still knows."""

    side: ClusterSide
    jobs: Sequence[AudioBatchJob]
    shards: Sequence[AudioShard]


def dispute(
    rows: Annotated[
        list[str], typer.Argument(metavar="ROW…", help="<chain>#<number>, as x_RowId in an export has it.")
    ],
    archive: Archive = None,
    period: Annotated[
        str | None,
        typer.Option("--period", metavar="MONTH", help=f"Where to look. Default: the last {MONTHS_BACK} months."),
    ] = None,
    prices: Prices = None,
    public_key: PublicKeys = None,
    offline: Offline = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="text, json or yaml.")] = Output.TEXT,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Tell all that is provable of a line: job, attempt, Mac, clocks, class and why, price, signature, neighbours.

    The exit code is 1 if something of it does not fit.
    """
    with exit_codes():
        names = [_parsed(row) for row in rows]
        months = _months(datetime.now(UTC)) if period is None else [this_or(period)]
        uri, book = named(archive), price_book(prices, None, kubeconfig, context)
        store = open_archive(uri)
        trusted = {raw_text(key) for text in public_key or () for key in read_public_keys(text)}
        known = None if offline else from_cluster(kubeconfig, context, _read_known)
        told = [_told(store, name, _index(store, name, months), book, trusted, known) for name in names]
    if output is Output.TEXT:
        for plain in told:
            _print(Console(), plain)
    else:
        print(document(told, output))
    raise typer.Exit(Exit.REFUSED if any(plain["faults"] for plain in told) else Exit.OK)


def _parsed(text: str) -> RowName:
    try:
        return RowName.parse(text)
    except BadRowName as error:
        raise UsageError(str(error)) from error


def _months(now: datetime) -> list[str]:
    """The newest first."""
    last = 12 * now.year + now.month - 1
    return [f"{month // 12:04d}-{month % 12 + 1:02d}" for month in range(last, last - MONTHS_BACK, -1)]


def _index(store: ArchiveStore, name: RowName, months: Sequence[str]) -> MonthIndex:
    for month in months:
        for index in month_indexes(store, month):
            if holds(index, name):
                return index
    raise NotFound(f"no index of {months[-1]} to {months[0]} names row {name}")


async def _read_known(kube: Kube) -> Known:
    jobs, _ = await kube.list(AudioBatchJob)
    shards, _ = await kube.list(AudioShard)
    return Known(await read_cluster(kube), jobs, shards)


def _told(
    store: ArchiveStore,
    name: RowName,
    index: MonthIndex,
    book: PriceBook | None,
    trusted: set[str],
    known: Known | None,
) -> Plain:
    evidence = evidence_of(name, index, lambda of, entry: segment_bytes(store, of, entry))
    if evidence.row is None:
        faults = [*evidence.segment_faults, "the index names the row, and it is not in its segment"]
        return {"row": str(name), "line": {"mac": index.mac}, "faults": faults}
    pinned = trusted or (None if known is None else known.side.pinned_keys(index.mac))
    charge, unpriced = _charge(store, name, index, book)
    told, faults = explained(evidence, evidence.row, pinned, charge, None if book is None else book.digest)
    if unpriced:
        told["price"] = {"note": unpriced}
    row = evidence.row.row
    told["result"] = _result_of(known, row.held_for.kind, row.shard_uid, told["line"]["ownerUid"])
    told["faults"] = faults
    return told


def _charge(store: ArchiveStore, name: RowName, index: MonthIndex, book: PriceBook | None) -> tuple[Charge | None, str]:
    """Its line, or why what is archived has no price.

    What of a commitment is left for it depends on the Macs before it, so with one all are read.
    """
    if book is None:
        return None, ""
    month = index.month
    indexes = month_indexes(store, month) if any(lessor.commitments for lessor in book.lessors) else [index]
    lines = archived_charges(store, month, indexes, book)
    try:
        return next((line for line in lines if line.row_name == str(name)), None), ""
    except (ObjectDamaged, ObjectMissing, Unbillable) as error:
        return None, str(error)


def _result_of(known: Known | None, kind: str, shard_uid: str, owner_uid: str) -> Plain:
    if kind == VoiceEndpoint.crd.kind:
        return {"note": "sessions of a VoiceEndpoint leave no result: what was said is nowhere kept"}
    return _result(known, shard_uid, owner_uid)


def _result(known: Known | None, shard_uid: str, job_uid: str) -> Plain:
    """What the shard committed, and where it is."""
    if known is None:
        return {"note": "the cluster was not asked"}
    shard = next((item for item in known.shards if item.metadata.uid == shard_uid), None)
    job = next((item for item in known.jobs if item.metadata.uid == job_uid), None)
    told: Plain = {}
    if shard is not None and shard.status.commit is not None:
        told["committedAttempt"] = shard.status.commit.attempt
        told["commitSha256"] = shard.status.commit.sha256
    if job is not None and job.status.results is not None:
        told["results"] = job.status.results.uri
    if shard is None:
        told["note"] = "the cluster has its shard no more; the job's index.json names each shard's commit"
    if job is None:
        told["note"] = "the cluster has its job no more; index.json in the job's output names each shard's commit"
    return told


def _print(console: Console, plain: Plain) -> None:
    console.print(Text(f"Row {plain['row']}", style="bold"), soft_wrap=True)
    for title, facts in plain.items():
        if isinstance(facts, dict):
            console.print(Text(f"  {title}"), soft_wrap=True)
            for name, value in facts.items():
                if value != "":
                    console.print(Text(f"    {name:18} {value}"), soft_wrap=True)
    faults = plain["faults"]
    for fault in faults:
        console.print(Text(f"  DOES NOT FIT: {fault}", style="bold red"), soft_wrap=True)
    if not faults:
        console.print(Text("  all of it fits", style="green"), soft_wrap=True)
