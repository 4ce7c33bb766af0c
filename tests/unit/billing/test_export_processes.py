"""An export is the same whatever the number of processes, and whichever of them a commitment runs out in."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from tests.rig.generated_month import Size, write_month
from tests.rig.price_books import book, lessor, sku

from voxfleet_billing.archive_reader import month_indexes
from voxfleet_billing.archive_store import open_archive
from voxfleet_billing.exports import export as export_module
from voxfleet_billing.exports.export import ArchivedMonth, write_export
from voxfleet_billing.exports.request import ExportForm, Request
from voxfleet_billing.instants import month_bounds
from voxfleet_billing.mac_processes import of_each
from voxfleet_billing.price_book import PriceBook

SIZE = Size(macs=5, nights=1, attempts_a_night=4)
"""Each Mac has 0.606 hours. The first is of another lessor."""
AT_ONCE = 2


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ledger")
    write_month(folder, SIZE)
    return folder


def prices(*hours: str) -> PriceBook:
    """Commitments of so many hours: to the SKU, and then to any."""
    entries = [
        {"hoursPerMonth": entry, "hourly": "1.50", "from": "2026-11-01", **({"sku": "m4pro-48"} if first else {})}
        for entry, first in zip(hours, (True, False), strict=False)
    ]
    return book(
        lessor(
            commitments=entries,
            minimumCharge={"per": "Day", "hours": 1},
            monthlyFees=[{"name": "rack", "amount": "10.01", "from": "2026-01-01"}],
            rounding={"unit": "0.05", "mode": "Up", "at": "Invoice"},
        ),
        lessor(name="own", currency="USD", skus=[sku(name="mini-m2")]),
    )


def exported(archive: Path, out: Path, of: PriceBook, processes: int = 1) -> tuple[bytes, bytes]:
    """The file and its manifest."""
    month = ArchivedMonth(
        archive.as_uri(), list(month_indexes(open_archive(archive.as_uri()), SIZE.month)), month_bounds(SIZE.month)[1]
    )
    (out / ".bill.csv.parts").mkdir(parents=True)  # of an export that was killed
    (out / ".bill.csv.parts/0.csv").touch()
    request = Request(SIZE.month, ExportForm.FOCUS_1_2, of, None, None, None, "1")
    write_export(month, request, out / "bill.csv", processes=processes)
    files = sorted(out.iterdir())
    assert [file.name for file in files] == ["bill.csv", "bill.csv.manifest.json"], "no part is left"
    return files[0].read_bytes(), files[1].read_bytes()


def taken_ahead(
    work: Callable[[object], object], tasks: Iterable[object], processes: int
) -> Generator[object, None, None]:
    """As processes would: each works on what was known when its task was taken, two tasks before."""
    rest, ahead = iter(tasks), list[object]()
    for task in rest:
        ahead.append(work(task))
        if len(ahead) > AT_ONCE:
            yield ahead.pop(0)
    yield from ahead


@pytest.mark.parametrize(
    "hours", [("0.1",), ("0.7",), ("1.3",), ("9",), ("0.3", "0.9"), ("0.0005", "1.2121")], ids=" and ".join
)
def test_a_commitment_covers_the_same_rows(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: tuple[str, ...]
) -> None:
    of = prices(*hours)
    one_by_one = exported(archive, tmp_path / "one", of)
    monkeypatch.setattr(export_module, "of_each", taken_ahead)
    assert exported(archive, tmp_path / "ahead", of) == one_by_one
    lines = list(csv.DictReader(one_by_one[0].decode().splitlines()))
    assert {line["CommitmentDiscountStatus"] for line in lines if line["x_Kind"] == "Usage"} >= {"Used"}


def test_two_processes_write_the_same_bytes_as_one(archive: Path, tmp_path: Path) -> None:
    of = prices("0.7")
    assert exported(archive, tmp_path / "two", of, processes=2) == exported(archive, tmp_path / "one", of)


HAS_MAIN = "hasattr(__import__('sys').modules['__main__'], '__file__')"
"""Of a process: whether it has imported the program's main module, which is the command line or here pytest."""


def test_results_come_in_order_from_small_processes_and_tasks_are_taken_as_there_is_room() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[str]:
        for number in range(9):
            taken.append(number)
            yield f"({number}, {HAS_MAIN})"

    results = of_each(eval, tasks(), 2)
    assert next(results) == (0, False) and taken == [0, 1, 2, 3]
    assert list(results) == [(number, False) for number in range(1, 9)]


KILLED = """
import os, signal
from voxfleet_billing.mac_processes import of_each

if __name__ == "__main__":
    results = of_each(eval, iter(["__import__('os').getpid()"] * 9), 2)
    print(next(results), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_end_with_the_one_that_began_them() -> None:
    told = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, check=False, timeout=60)
    assert told.returncode == -signal.SIGKILL, told.stderr
    with suppress(psutil.NoSuchProcess):
        psutil.Process(int(told.stdout)).wait(timeout=30)
