"""Writes a month's bill as a file, with the manifest beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from voxfleet_billing.archive_format import MonthIndex
from voxfleet_billing.archived_row import ArchivedRow
from voxfleet_billing.charge import Charge
from voxfleet_billing.charges import Settlements, charges
from voxfleet_billing.exports.csv_file import write_csv, write_text
from voxfleet_billing.exports.focus import FocusVersion, focus_header, focus_lines
from voxfleet_billing.exports.lessor import LessorTemplate, lessor_header, lessor_lines
from voxfleet_billing.exports.manifest import Export, manifest
from voxfleet_billing.exports.tally import Tally
from voxfleet_billing.price_book import PriceBook


class ExportForm(StrEnum):
    FOCUS_1_2 = "focus-1.2"
    FOCUS_1_4 = "focus-1.4"
    LESSOR = "lessor"


FOCUS_VERSIONS = {ExportForm.FOCUS_1_2: FocusVersion.V1_2, ExportForm.FOCUS_1_4: FocusVersion.V1_4}


@dataclass(frozen=True, slots=True)
class ArchivedMonth:
    """What the archive has of a month, and how its rows are read."""

    period: str
    indexes: Sequence[MonthIndex]
    rows_of: Callable[[MonthIndex], Iterable[ArchivedRow]]
    settlements_of: Callable[[MonthIndex], Settlements]
    idle_until: int
    """Milliseconds since 1970: what comes later is not idle yet."""


@dataclass(frozen=True, slots=True)
class Request:
    form: ExportForm
    book: PriceBook | None
    lessor: str | None
    """Of this one alone."""
    template: LessorTemplate | None
    template_sha256: str | None
    voxfleet_version: str


def manifest_path(out: Path) -> Path:
    return out.with_name(f"{out.name}.manifest.json")


def write_export(month: ArchivedMonth, request: Request, out: Path) -> tuple[Tally, dict[str, object]]:
    """Writes `out` and its manifest, which it returns; the same ledger and price book give the same bytes.

    Raises Unbillable, Unpriced, NoMoney, OSError, and what the archive raises; then an earlier file stays.
    """
    tally = Tally()
    lines = charges(
        month.period, month.indexes, month.rows_of, month.settlements_of, request.book, until=month.idle_until
    )
    header, rows = _table(month.period, request, tally.counted(_of_lessor(lines, request.lessor)))
    written = write_csv(out, header, rows)
    facts = Export(
        month.period,
        request.form.value,
        request.lessor,
        None if request.book is None else request.book.digest,
        request.template_sha256,
        month.idle_until,
        request.voxfleet_version,
        out.name,
    )
    found = manifest(facts, month.indexes, written, tally)
    write_text(manifest_path(out), json.dumps(found, indent=2) + "\n")
    return tally, found


def _table(period: str, request: Request, lines: Iterable[Charge]) -> tuple[str, Iterator[str]]:
    if request.form is ExportForm.LESSOR:
        if request.template is None:
            raise ValueError("a lessor's format needs a template")
        return lessor_header(request.template), lessor_lines(request.template, lines)
    if request.book is None:
        raise ValueError("FOCUS needs a price book")
    version = FOCUS_VERSIONS[request.form]
    return focus_header(version), focus_lines(version, period, lines, request.book)


def _of_lessor(lines: Iterable[Charge], lessor: str | None) -> Iterable[Charge]:
    return lines if lessor is None else (line for line in lines if line.lessor == lessor)
