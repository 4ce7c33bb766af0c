"""`voxfleet bill export` over an archive with real signatures."""

from __future__ import annotations

import csv
import hashlib
import json
from decimal import Decimal
from pathlib import Path

import pytest
from tests.rig.generated_month import Size, write_month
from typer.testing import CliRunner, Result

from voxfleet_cli.main import app

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
SIZE = Size(macs=4, nights=2, attempts_a_night=4)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ledger")
    write_month(folder, SIZE)
    return folder


def export(archive: Path, out: Path, *arguments: str, form: str = "focus-1.2", prices: bool = True) -> Result:
    command = ["bill", "export", "--period", "2026-11", "--format", form, "--out", str(out)]
    command += ["--archive", archive.as_uri()]
    if prices:
        command += ["--price-book", str(EXAMPLES / "price-book.yaml")]
    return CliRunner().invoke(app, [*command, *arguments])


def test_each_row_is_a_line_and_totals_agree(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "bill.csv"
    told = export(archive, out)
    assert told.exit_code == 0, told.output
    with out.open(newline="") as file:
        lines = list(csv.DictReader(file))
    usage = [line for line in lines if line["x_Kind"] == "Usage"]
    assert len(usage) == len({line["x_RowId"] for line in usage}) == SIZE.rows
    manifest = json.loads(out.with_name("bill.csv.manifest.json").read_text())
    assert manifest["file"] == {
        "name": "bill.csv",
        "sha256": hashlib.sha256(out.read_bytes()).hexdigest(),
        "sizeBytes": out.stat().st_size,
        "lines": len(lines),
    }
    for currency, total in manifest["totals"].items():
        billed = [Decimal(line["BilledCost"]) for line in lines if line["BillingCurrency"] == currency]
        assert sum(billed) == Decimal(total["billedCost"])
    assert sum(Decimal(line["x_MachineSeconds"]) for line in usage) == Decimal(manifest["kinds"]["Usage"]["seconds"])
    assert manifest["priceBookDigest"] == usage[0]["x_PriceBookDigest"]
    assert [entry["mac"] for entry in manifest["archive"]] == [f"mac-{number:04d}" for number in range(SIZE.macs)]
    assert manifest["final"] and manifest["unpriced"] == 0


@pytest.mark.parametrize("form", ["focus-1.2", "focus-1.4"])
def test_again_is_the_same_bytes(archive: Path, tmp_path: Path, form: str) -> None:
    files = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        assert export(archive, tmp_path / folder / "bill.csv", form=form).exit_code == 0
        files.append({file.name: file.read_bytes() for file in (tmp_path / folder).iterdir()})
    assert files[0] == files[1] and set(files[0]) == {"bill.csv", "bill.csv.manifest.json"}


def test_a_lessors_file_has_its_lines_alone(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "acme.csv"
    template = ("--template", str(EXAMPLES / "lessor-columns.yaml"))
    assert export(archive, out, *template, form="lessor").exit_code == 2, "two lessors, and none is named"
    told = export(archive, out, *template, "--lessor", "acme", form="lessor")
    assert told.exit_code == 0, told.output
    with out.open(newline="") as file:
        lines = list(csv.DictReader(file, delimiter=";"))
    assert f"{out}: {len(lines)} lines of" in told.output
    assert "not in the file, by the template's kinds: " in told.output
    assert {line["Currency"] for line in lines} == {"EUR"}
    assert {line["Machine"].split()[0] for line in lines} == {"mac-0001", "mac-0002", "mac-0003"}, "one is our own"


REFUSALS = {
    "a month that is none": (("--period", "2026-13"), 2, "write a month such as 2026-11"),
    "a month of which there is nothing": (("--period", "2025-01"), 3, "has nothing of 2025-01"),
    "an unknown lessor": (("--lessor", "other"), 2, "unknown lessor other: the price book has acme, own"),
    "a template for FOCUS": (("--template", "x.yaml"), 2, "no other format has one"),
    "a price book that is not there": (("--price-book", "/nowhere.yaml"), 2, "/nowhere.yaml: it cannot be read"),
    "an archive of an unknown kind": (("--archive", "ftp://ledger"), 4, "ftp://ledger"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_is_refused_is_named(case: str, archive: Path, tmp_path: Path) -> None:
    arguments, code, message = REFUSALS[case]
    told = export(archive, tmp_path / "bill.csv", *arguments)
    assert (told.exit_code, message in told.output) == (code, True), told.output
    assert list(tmp_path.iterdir()) == []


def test_focus_needs_a_price_book(archive: Path, tmp_path: Path) -> None:
    told = export(archive, tmp_path / "bill.csv", prices=False)
    assert told.exit_code == 2 and "--price-book" in told.output


def test_a_refused_export_leaves_the_file_that_was_there(archive: Path, tmp_path: Path) -> None:
    out, prices = tmp_path / "bill.csv", tmp_path / "prices.yaml"
    out.write_text("last month's")
    text = (EXAMPLES / "price-book.yaml").read_text()
    prices.write_text(text.replace("mini-m2", "mini-m1"))
    told = export(archive, out, "--price-book", str(prices))
    assert told.exit_code == 1 and "lessor own has no SKU mini-m2 for Offline" in told.output
    assert out.read_text() == "last month's"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bill.csv", "prices.yaml"]


def test_a_segment_that_was_changed_is_refused(archive: Path, tmp_path: Path) -> None:
    copy = tmp_path / "ledger"
    for file in archive.rglob("*"):
        if file.is_file():
            target = copy / file.relative_to(archive)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    segment = next(copy.glob("2026-11/mac-0003/rows/*"))
    segment.write_bytes(segment.read_bytes().replace(b'"attempt":1', b'"attempt":3', 1))
    told = export(copy, tmp_path / "bill.csv")
    assert told.exit_code == 4 and segment.name in told.output
