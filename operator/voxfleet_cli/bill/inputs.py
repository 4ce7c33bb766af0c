"""What the commands of `voxfleet bill` read: their options, the archive, the price book, the cluster."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from voxfleet_billing.archive_store import ArchiveError
from voxfleet_billing.csv_mapping import MappingError
from voxfleet_billing.exports.export import manifest_path
from voxfleet_billing.instants import DAY_MILLISECONDS, milliseconds_of, moment_milliseconds
from voxfleet_billing.line_comparison import TooLarge
from voxfleet_billing.mac_charges import Unbillable
from voxfleet_billing.price_book import PriceBook, PriceBookError
from voxfleet_cli.bill import price_source
from voxfleet_cli.bill.price_source import NotRead, read_price_book
from voxfleet_cli.command_line import Exit, fail, with_kube
from voxfleet_operator.kube import Kube

T = TypeVar("T")

EPILOG = (
    "Exit codes: 0 fine, 1 something differs or is not proven, 2 wrong usage, 3 not found, 4 the cluster or the archive"
    " gave no answer."
)
_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")

Archive = Annotated[
    str | None,
    typer.Option(
        "--archive",
        envvar="VOXFLEET_ARCHIVE",
        metavar="URI",
        help="The ledger archive, file:///… or s3://…, as the operator's --archive has it.",
    ),
]
Period = Annotated[str | None, typer.Option("--period", metavar="MONTH", help="Such as 2026-11. Default: this month.")]
Prices = Annotated[str | None, typer.Option("--price-book", metavar="FILE|configmap/NAME", help=price_source.HELP)]
Offline = Annotated[bool, typer.Option("--offline", help="Ask the archive alone, and no cluster.")]


class UsageError(ValueError):
    """An option that cannot be used; the message names it."""


class NotFound(Exception):
    """What was asked for is not there; the message says where it was looked for."""


@contextmanager
def exit_codes() -> Iterator[None]:
    """Ends the command with the message and the exit code of what is raised."""
    try:
        yield
    except (UsageError, PriceBookError, MappingError, OSError) as error:
        raise typer.Exit(fail(error, Exit.USAGE)) from error
    except NotRead as error:
        raise typer.Exit(error.code) from error
    except NotFound as error:
        raise typer.Exit(fail(error, Exit.NOT_FOUND)) from error
    except (Unbillable, TooLarge) as error:
        raise typer.Exit(fail(error, Exit.REFUSED)) from error
    except ArchiveError as error:
        raise typer.Exit(fail(error, Exit.UNAVAILABLE)) from error


def this_or(period: str | None) -> str:
    """The month that was asked for. Raises UsageError."""
    month = f"{datetime.now(UTC):%Y-%m}" if period is None else period
    if not _MONTH.fullmatch(month):
        raise UsageError(f"--period {month}: write a month, such as 2026-11")
    return month


def last_midnight() -> int:
    """Milliseconds since 1970. The time since then may still get rows: it is not idle yet."""
    now = moment_milliseconds(datetime.now(UTC))
    return now - now % DAY_MILLISECONDS


def idle_until(export: Path) -> int:
    """Up to when an export has idle time, as its manifest says; one without a manifest is taken as made today.

    Raises UsageError, and OSError.
    """
    manifest = manifest_path(export)
    if not manifest.exists():
        return last_midnight()
    try:
        return milliseconds_of(json.loads(manifest.read_bytes())["idleUntil"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{manifest} names no idleUntil; export the bill again") from error


def named(uri: str | None) -> str:
    """The address of the archive. Raises UsageError."""
    if not uri:
        raise UsageError("name the ledger archive: --archive URI, or VOXFLEET_ARCHIVE")
    return uri


def price_book(
    source: str | None, namespace: str | None, kubeconfig: Path | None, context: str | None
) -> PriceBook | None:
    """Raises PriceBookError, and NotRead."""
    return None if source is None else read_price_book(source, namespace, kubeconfig, context)


def from_cluster(kubeconfig: Path | None, context: str | None, read: Callable[[Kube], Awaitable[T]]) -> T:
    """Ends the command if the cluster gives no answer."""
    found: list[T] = []

    async def work(kube: Kube) -> Exit:
        found.append(await read(kube))
        return Exit.OK

    code = with_kube(kubeconfig, context, work)
    if code:
        raise typer.Exit(code)
    return found[0]
