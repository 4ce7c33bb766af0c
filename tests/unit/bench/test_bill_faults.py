"""The faults that `make bench` plants in a bill are found, and nothing else: the same, in a month of 240 rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.bench.generated_objects import jobs, statements
from tests.bench.planted_differences import plant_in_csv, plant_in_jobs, plant_in_statements
from tests.bench.tampered_archive import tampered
from tests.rig.generated_month import PUBLIC_KEY, Size, write_month

from voxfleet_billing.archive_reader import month_indexes
from voxfleet_billing.archive_store import open_archive
from voxfleet_billing.csv_mapping import FOCUS_MAPPING
from voxfleet_billing.exports.export import ArchivedMonth, write_export
from voxfleet_billing.exports.request import ExportForm, Request
from voxfleet_billing.instants import month_bounds
from voxfleet_billing.price_book import load_price_book
from voxfleet_billing.verification_task import Task, run_task
from voxfleet_cli.bill.reconcile import ComparedCsv, Reconciled, reconciled

SIZE = Size(macs=20, nights=1, attempts_a_night=4)
BOOK = load_price_book((Path(__file__).resolve().parents[3] / "examples/price-book.yaml").read_text())


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ledger")
    write_month(folder, SIZE)
    return folder


def compared(archive: Path, bill: Path, planted: set[tuple[str, str]] | None = None) -> Reconciled:
    told, ran = list(statements(archive, SIZE)), list(jobs(SIZE))
    if planted is not None:
        told, ran = list(plant_in_statements(told, planted)), list(plant_in_jobs(ran, planted))
    file = ComparedCsv(bill, FOCUS_MAPPING, None)
    return reconciled(archive.as_uri(), SIZE.month, BOOK, told, ran, file, None, cluster=True)


def test_twenty_differences_are_found_and_nothing_else(archive: Path, tmp_path: Path) -> None:
    bill, edited = tmp_path / "bill.csv", tmp_path / "edited.csv"
    indexes = list(month_indexes(open_archive(archive.as_uri()), SIZE.month))
    month = ArchivedMonth(archive.as_uri(), indexes, month_bounds(SIZE.month)[1])
    write_export(month, Request(SIZE.month, ExportForm.FOCUS_1_2, BOOK, None, None, None, "1"), bill, processes=1)
    sound = compared(archive, bill)
    assert (sound.rows, sound.statements, sound.jobs) == (SIZE.rows, SIZE.macs, 4)
    assert (sound.line_differences, sound.sides) == (0, [])

    planted = plant_in_csv(bill, edited, SIZE.rows)
    (tmp_path / "bill.csv.manifest.json").rename(tmp_path / "edited.csv.manifest.json")
    told = compared(archive, edited, planted)
    found = [(line.kind.value, line.key.split(" ")[0]) for line in told.differences]
    found += [(side.fact, side.side) for side in told.sides]
    assert sorted(found) == sorted(planted) and len(planted) == 20


def test_twenty_rows_that_were_tampered_with_are_named(archive: Path, tmp_path: Path) -> None:
    planted = tampered(archive, tmp_path / "copy", SIZE.month, SIZE.macs)
    uri = (tmp_path / "copy").as_uri()
    for index in month_indexes(open_archive(uri), SIZE.month):
        found = run_task(Task(uri, (index,), frozenset({PUBLIC_KEY}), ())).findings
        assert planted[index.mac] in {finding.where for finding in found}, (index.mac, found)
    assert len(planted) == 20
