"""Twenty differences in what a month's rows are held against, each known: sixteen in a CSV, four in the cluster."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from voxfleet_api.kinds import AudioBatchJob, MachineHourStatement
from voxfleet_api.quantities import seconds_milliseconds, seconds_text
from voxfleet_billing.compared_line import DifferenceKind

Cells = dict[str, str]
Found = set[tuple[str, str]]
"""The kind of a difference, or the fact that differs; and the row, or the object."""


def _with(column: str, change: Callable[[str], str]) -> Callable[[Cells], list[Cells]]:
    return lambda cells: [cells | {column: change(cells[column])}]


def _later_by(seconds: str) -> Callable[[Cells], list[Cells]]:
    return _with("x_MachineSeconds", lambda text: str(Decimal(text) + Decimal(seconds)))


def _twice(cells: Cells) -> list[Cells]:
    return [cells, cells]


def _and_one_of_an_unknown_mac(cells: Cells) -> list[Cells]:
    return [cells, cells | {"x_RowId": f"of-nobody-{cells['x_RowId']}", "ResourceName": "mac-nobody"}]


EDITS: tuple[tuple[DifferenceKind, Callable[[Cells], list[Cells]]], ...] = (
    (DifferenceKind.MISSING, lambda _: []),
    (DifferenceKind.TIME, _later_by("0.001")),
    (DifferenceKind.TIME, _later_by("-0.001")),
    (DifferenceKind.SKU, _with("SkuId", lambda _: "another-sku")),
    (DifferenceKind.TWICE, _twice),
    (DifferenceKind.UNKNOWN, _and_one_of_an_unknown_mac),
    (DifferenceKind.CURRENCY, _with("BillingCurrency", lambda _: "CHF")),
    (DifferenceKind.COST, _with("BilledCost", lambda text: f"{Decimal(text) + Decimal('1E-9'):f}")),
)
EACH = 2


def plant_in_csv(bill: Path, edited: Path, lines: int) -> Found:
    """Writes `bill` with an edit in so many signed rows, far apart. `lines`: it has so many at least."""
    todo = list(EDITS * EACH)
    step, planted = lines // (len(todo) + 1), set[tuple[str, str]]()
    with bill.open(encoding="utf-8", newline="") as source, edited.open("w", encoding="utf-8", newline="") as target:
        header_text = next(source)
        (header,) = csv.reader([header_text])
        target.write(header_text)
        due = step
        for number, line in enumerate(source):
            if number < due or not todo:
                target.write(line)
                continue
            (values,) = csv.reader([line])
            cells = dict(zip(header, values, strict=True))
            if cells["x_Kind"] != "Usage":
                target.write(line)  # the next one, then
                continue
            kind, edit = todo.pop(0)
            written = edit(cells)
            target.writelines(map(_line, written))
            planted.add((kind.value, [cells, *written][-1]["x_RowId"]))
            due += step
    assert not todo, f"{bill} has fewer than {lines} lines"
    return planted


def plant_in_statements(statements: Iterable[MachineHourStatement], planted: Found) -> Iterator[MachineHourStatement]:
    """One has a millisecond too much, and one is not there."""
    for number, statement in enumerate(statements):
        if number == 3:
            planted.add(("overheadSeconds", f"mhs/{statement.metadata.name}"))
            status = statement.status
            text = _a_millisecond_more(status.overhead_seconds)
            yield statement.model_copy(update={"status": status.model_copy(update={"overhead_seconds": text})})
        elif number == 5:
            planted.add(("statement", f"mac/{statement.spec.mac}"))
        else:
            yield statement


def plant_in_jobs(jobs: Iterable[AudioBatchJob], planted: Found) -> Iterator[AudioBatchJob]:
    """One has a row less, and one a millisecond too much."""
    for number, job in enumerate(jobs):
        usage, update = job.status.usage, dict[str, Any]()
        if number == 1:
            update = {"rows": usage.rows - 1}
        elif number == 2:
            update = {"retry_seconds": _a_millisecond_more(usage.retry_seconds)}
        for field in update:
            planted.add(
                ({"rows": "rows"}.get(field, "retrySeconds"), f"abj/{job.metadata.namespace}/{job.metadata.name}")
            )
        status = job.status.model_copy(update={"usage": usage.model_copy(update=update)})
        yield job.model_copy(update={"status": status})


def _a_millisecond_more(text: str) -> str:
    return seconds_text(seconds_milliseconds(text) + 1)


def _line(cells: Cells) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells.values())
    return text.getvalue()
