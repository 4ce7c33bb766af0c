"""`voxfleet bill verify`: is what the archive has what the Macs signed, all of it and nothing else?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from voxfleet_billing.archive_format import MonthIndex
from voxfleet_billing.archive_reader import month_indexes
from voxfleet_billing.archive_store import open_archive
from voxfleet_billing.finding import Check, Finding
from voxfleet_billing.mac_processes import of_each, processes_for
from voxfleet_billing.mac_verification import MacReport
from voxfleet_billing.signing_keys import raw_text
from voxfleet_billing.verification_task import Task, run_task
from voxfleet_cli.bill.cluster_side import ClusterSide, read_cluster
from voxfleet_cli.bill.inputs import Archive, NotFound, Offline, exit_codes, from_cluster, named, this_or
from voxfleet_cli.bill.key_files import PublicKeys, read_public_keys
from voxfleet_cli.bill.progress import Bar
from voxfleet_cli.columns import table
from voxfleet_cli.command_line import Exit, Kubeconfig, KubeContext
from voxfleet_cli.render import Output, document

MAX_PROCESSES = 8


def verify(
    archive: Archive = None,
    periods: Annotated[
        list[str] | None,
        typer.Option("--period", metavar="MONTH", help="Such as 2026-11; repeatable. Default: this month."),
    ] = None,
    public_key: PublicKeys = None,
    offline: Offline = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="text, json or yaml.")] = Output.TEXT,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Check every signature, hash, chain, segment and lane of the archive, and that it has all that statements count.

    The keys to trust are those of the MacAgents and statements, or those of --public-key. With neither, rows are
    checked by the keys that the archive itself names, and the output says so.
    """
    with exit_codes():
        months = sorted({this_or(period) for period in periods}) if periods else [this_or(None)]
        uri = named(archive)
        trusted = _trusted(public_key)
        cluster = None if offline else from_cluster(kubeconfig, context, read_cluster)
        tasks, unarchived = tasks_of(uri, months, cluster, trusted)
        if not tasks and not unarchived:
            raise NotFound(f"{uri} has nothing of {', '.join(months)}")
        reports = _reports(tasks)
    findings = [*unarchived, *(finding for report in reports for finding in report.findings)]
    more = sum(report.more_findings for report in reports)
    keys = "--public-key" if trusted else "MacAgents and statements" if cluster is not None else "the archive itself"
    told = {
        "months": months,
        "macs": len(reports),
        "chains": sum(report.chains for report in reports),
        "segments": sum(report.segments for report in reports),
        "rows": sum(report.rows for report in reports),
        "keysFrom": keys,
        "statementsCompared": cluster is not None,
        "findings": [finding.dump() for finding in findings],
        "moreFindings": more,
    }
    if output is Output.TEXT:
        _print(findings, more, told)
    else:
        print(document(told, output))
    raise typer.Exit(Exit.REFUSED if findings else Exit.OK)


def _print(findings: Sequence[Finding], more: int, told: dict[str, object]) -> None:
    if findings:
        rows = [[item.mac, item.month, str(item.check), item.where, item.message] for item in findings]
        print(table(["MAC", "MONTH", "CHECK", "WHERE", "MESSAGE"], rows))
    if more:
        print(f"{more} more are left out, of Macs that have very many")
    verdict = f"{len(findings) + more} findings" if findings else "all of it fits"
    print(
        f"{', '.join(map(str, _list(told['months'])))}: {told['macs']} Macs, {told['chains']} chains,"
        f" {told['segments']} segments, {told['rows']} rows: {verdict}. Keys: of {told['keysFrom']}."
        + ("" if told["statementsCompared"] else " Statements were not compared.")
    )


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _trusted(texts: list[str] | None) -> frozenset[str]:
    return frozenset(raw_text(key) for text in texts or () for key in read_public_keys(text))


def tasks_of(
    uri: str, months: Sequence[str], cluster: ClusterSide | None, trusted: frozenset[str]
) -> tuple[list[Task], list[Finding]]:
    """A task a Mac, and what statements count of Macs of which nothing is archived."""
    store, by_mac = open_archive(uri), dict[str, list[MonthIndex]]()
    for month in months:
        for index in month_indexes(store, month):
            by_mac.setdefault(index.mac, []).append(index)
    tasks = []
    for mac, indexes in sorted(by_mac.items()):
        pinned = trusted or (None if cluster is None else frozenset(cluster.pinned_keys(mac)))
        settled = () if cluster is None else tuple(cluster.settled(mac, months))
        tasks.append(Task(uri, tuple(indexes), pinned, settled))
    unarchived = [
        Finding(
            statement.spec.mac,
            statement.spec.month,
            Check.STATEMENT,
            statement.metadata.name,
            f"counts {statement.status.rows} rows, and the archive has nothing of this Mac and month",
        )
        for statement in (() if cluster is None else cluster.statements)
        if statement.spec.month in months and statement.status.rows
        if statement.spec.month not in {index.month for index in by_mac.get(statement.spec.mac, ())}
    ]
    return tasks, unarchived


def _reports(tasks: Sequence[Task]) -> list[MacReport]:
    """In several processes, because signatures take 0.1 ms each."""
    with Bar("Macs", len(tasks)) as bar:
        return list(bar.counted(of_each(run_task, tasks, processes_for(len(tasks), MAX_PROCESSES))))
