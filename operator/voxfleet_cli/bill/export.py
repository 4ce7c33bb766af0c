"""The command `voxfleet bill export`."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from voxfleet_billing.archive_format import MonthIndex
from voxfleet_billing.archive_reader import month_indexes
from voxfleet_billing.archive_store import ArchiveError, open_archive
from voxfleet_billing.charge import ChargeKind
from voxfleet_billing.exports.export import ArchivedMonth, manifest_path, write_export
from voxfleet_billing.exports.focus import Unpriced
from voxfleet_billing.exports.lessor import LessorTemplate, NoMoney, TemplateError, load_template
from voxfleet_billing.exports.request import ExportForm, Request
from voxfleet_billing.exports.tally import Tally
from voxfleet_billing.instants import month_bounds
from voxfleet_billing.mac_charges import Unbillable
from voxfleet_billing.money import Amount
from voxfleet_billing.price_book import PriceBook, PriceBookError
from voxfleet_cli.bill import price_source
from voxfleet_cli.bill.inputs import last_midnight
from voxfleet_cli.bill.price_source import NotRead, read_price_book
from voxfleet_cli.bill.progress import Bar
from voxfleet_cli.command_line import Exit, Kubeconfig, KubeContext, Namespace, fail

EPILOG = (
    "Exit codes: 0 written, 1 refused (a line has no price, a Mac's facts cannot be read), 2 wrong usage, price book or"
    " template, 3 the archive has nothing of the month, or there is no such ConfigMap, 4 the archive or the cluster"
    " gave no answer. Unless it is 0, an earlier file stays as it is."
)
_PERIOD = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")


class WrongUsage(Exception):
    """The message names the option and says what to write."""


def export(
    period: Annotated[str, typer.Option(metavar="MONTH", help="The month in UTC, such as 2026-11.")],
    form: Annotated[
        ExportForm, typer.Option("--format", help="FOCUS 1.2 or 1.4, or the columns that a lessor's template has.")
    ],
    out: Annotated[Path, typer.Option(help="The CSV; FILE.manifest.json is written beside it.", metavar="FILE")],
    archive: Annotated[
        str,
        typer.Option(envvar="VOXFLEET_ARCHIVE", help="The ledger archive: file:///FOLDER or s3://BUCKET/PREFIX."),
    ],
    price_book: Annotated[str | None, typer.Option(metavar="FILE|configmap/NAME", help=price_source.HELP)] = None,
    template: Annotated[Path | None, typer.Option(metavar="FILE", help="The columns of --format lessor.")] = None,
    lessor: Annotated[str | None, typer.Option(metavar="NAME", help="The lines of this lessor alone.")] = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Write a month's bill as a CSV: a line for each signed row, and for idle time, fees and minimum charges.

    The same archive and price book give the same bytes. The manifest beside the file has its sha256, the digest of the
    price book, the heads of the archive's chains and the totals. Signatures are not checked here; voxfleet bill verify
    does that.
    """
    try:
        start, end = _month(period)
        book = None if price_book is None else read_price_book(price_book, namespace, kubeconfig, context)
        request = _request(period, form, book, lessor, template)
        code = _export(min(end, max(start, last_midnight())), archive, request, out)
    except (WrongUsage, PriceBookError, TemplateError) as error:
        raise typer.Exit(fail(error, Exit.USAGE)) from error
    except NotRead as error:
        raise typer.Exit(error.code) from error
    except ArchiveError as error:
        raise typer.Exit(fail(error, Exit.UNAVAILABLE)) from error
    except (Unbillable, Unpriced, NoMoney, OSError) as error:
        raise typer.Exit(fail(error, Exit.REFUSED)) from error
    raise typer.Exit(code)


def _month(period: str) -> tuple[int, int]:
    if not _PERIOD.fullmatch(period):
        raise WrongUsage(f"--period {period}: write a month such as 2026-11")
    return month_bounds(period)


def _request(
    period: str, form: ExportForm, book: PriceBook | None, lessor: str | None, template: Path | None
) -> Request:
    """Raises WrongUsage, PriceBookError, TemplateError."""
    if form is not ExportForm.LESSOR and book is None:
        raise WrongUsage(f"--format {form} needs a --price-book: FOCUS asks for a cost in every line")
    if (form is ExportForm.LESSOR) != (template is not None):
        raise WrongUsage("--format lessor needs a --template, and no other format has one")
    if lessor is not None and book is not None:
        book.lessor(lessor)
    if form is ExportForm.LESSOR and lessor is None and book is not None and len(book.lessors) > 1:
        raise WrongUsage(f"--lessor: write one of {', '.join(entry.name for entry in book.lessors)}")
    columns, digest = _template(template)
    return Request(period, form, book, lessor, columns, digest, version("voxfleet"))


def _template(path: Path | None) -> tuple[LessorTemplate | None, str | None]:
    if path is None:
        return None, None
    try:
        content = path.read_bytes()
        return load_template(content.decode()), hashlib.sha256(content).hexdigest()
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(f"{path} cannot be read: {error}") from error
    except TemplateError as error:
        raise TemplateError(f"{path}: {error}") from error


def _export(idle_until: int, archive: str, request: Request, out: Path) -> Exit:
    indexes = list(month_indexes(open_archive(archive), request.period))
    if not indexes:
        return fail(LookupError(f"{archive} has nothing of {request.period}"), Exit.NOT_FOUND)
    with Bar("rows", sum(map(_rows, indexes))) as bar:
        month = ArchivedMonth(archive, indexes, idle_until)
        tally, _ = write_export(month, request, out, seen=lambda index: bar.advance(_rows(index)))
    _say(out, request, tally, all(index.final for index in indexes))
    return Exit.OK


def _say(out: Path, request: Request, tally: Tally, final: bool) -> None:
    """The amounts are those of the bill, with what a lessor's template leaves out of the file."""
    period, template = request.period, request.template
    inside = [kind for kind in sorted(tally.kinds) if template is None or kind in template.kinds]
    outside = [kind for kind in sorted(tally.kinds) if kind not in inside]
    lines = sum(tally.kinds[kind].lines for kind in inside)
    print(f"{out}: {lines} lines of {period} ({_by_kind(tally, inside)})")
    if outside:
        print(f"not in the file, by the template's kinds: {_by_kind(tally, outside)}")
    for currency, total in sorted(tally.currencies.items()):
        amounts = f"billed {Amount(currency, total.billed_cost)}, by the list {Amount(currency, total.list_cost)}"
        print(f"{amounts}, with what is not in the file" if outside else amounts)
    if tally.unpriced:
        print(f"{tally.unpriced} lines have no price")
    print(f"{manifest_path(out)}: what it was made from")
    if not final:
        print(f"{period} is not final: rows may still come in", file=sys.stderr)


def _by_kind(tally: Tally, kinds: Sequence[ChargeKind]) -> str:
    return ", ".join(f"{tally.kinds[kind].lines} {kind.value}" for kind in kinds) or "none"


def _rows(index: MonthIndex) -> int:
    return sum(entry.rows for entry in index.segments)
