"""`voxfleet bill show`, `reconcile` and `burndown` over an archive on disk: what they print, and how they end."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.rig.signed_mac import SignedMac
from typer.testing import CliRunner

from voxfleet_api.kinds import AudioBatchJob, MachineHourStatement
from voxfleet_api.ledger import Activity
from voxfleet_api.quantities import seconds_text
from voxfleet_billing.archive_format import MacFacts, TimeClass
from voxfleet_billing.csv_mapping import FOCUS_MAPPING
from voxfleet_cli.bill.reconcile import ComparedCsv, reconciled
from voxfleet_cli.main import app

BOOK = """
lessors:
  - name: acme
    account: acme-1
    invoiceIssuer: Acme
    currency: EUR
    rounding: {unit: "0.01", mode: HalfUp, at: Line}
    skus: [{name: m4, rates: [{from: 2026-01-01, listHourly: "3.60", contractedHourly: "1.80", idleHourly: "0.10"}]}]
teams: [{name: voice, billingKeys: [team-speech]}]
budgets:
  - {billingKey: team-speech, machineHoursPerMonth: "1"}
  - {namespace: calls, machineHoursPerMonth: 100}
night: {timeZone: Europe/Berlin, closesAt: "07:00"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An archive of two Macs: `speech` has 2.2 hours of November, and of October a tenth of that job."""
    archive = tmp_path / "ledger"
    for number in (1, 2):
        name = f"mac-{number:02d}"
        facts = MacFacts(
            since="2026-10-01T00:00:00Z", hardware_id=f"hardware-{name}", chip="Apple M4", lessor="acme", sku="m4"
        )
        mac = SignedMac(
            name, chain_id=f"chain-{number}", facts=(facts,), clock=datetime(2026, 10, 31, 23, 50, tzinfo=UTC)
        )
        if number == 1:
            mac.attempt("shard-0", seconds=(10, 300, 10))
        mac.clock = datetime(2026, 11, 5, 22, tzinfo=UTC)
        mac.attempt("shard-1", seconds=(10, 3600, 10))
        mac.attempt("shard-2", work=TimeClass.RETRY, seconds=(10, 350, 10))
        mac.attempt("shard-3", seconds=(10, 600, 10), namespace="calls", job="evening", billing_key="team-calls")
        for month in mac.months():
            month.write(archive)
    (tmp_path / "prices.yaml").write_text(BOOK)
    return tmp_path


def run(folder: Path, *arguments: str | Path) -> tuple[int, str]:
    archive = ("--archive", (folder / "ledger").as_uri(), "--period", "2026-11")
    told = CliRunner().invoke(app, ["bill", *map(str, arguments), *archive])
    return told.exit_code, told.output


def priced(folder: Path) -> tuple[str, str]:
    return "--price-book", str(folder / "prices.yaml")


def exported(folder: Path) -> Path:
    path = folder / "bill.csv"
    code, output = run(folder, "export", "--format", "focus-1.2", "--out", path, *priced(folder))
    assert code == 0, output
    return path


def edited(path: Path, edit: Any) -> None:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows = edit(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def test_a_month_is_shown_by_each_dimension(folder: Path) -> None:
    code, output = run(folder, "show", *priced(folder), "--chart", "-o", "wide")
    assert code == 0, output
    lines = output.splitlines()
    assert lines[0].split() == [
        *("MAC", "MACHINE-HOURS", "PRODUCTIVE", "RETRY", "OVERHEAD", "MAC-HOURS", "IDLE", "ESTIMATED", "CORRECTIONS"),
        *("AUDIO", "CLIPS", "ROWS", "UNPRICED", "COST"),
    ]
    assert lines[1].split()[:6] == ["mac-01", "1.2806", "1.1667", "0.0972", "0.0167", "1.2806"]
    assert any(line.startswith("mac-01  ####") for line in lines)
    code, output = run(folder, "show", "--by", "team", *priced(folder), "-o", "json")
    told = json.loads(output)
    teams = {group["team"]: group["machineMilliseconds"] for group in told["groups"]}
    assert teams == {"-": 2 * 620_000, "voice": 2 * 3_990_000}
    assert told["total"]["costs"]["EUR"] and told["missing"] == ""


def test_a_dimension_that_statements_do_not_have_asks_for_the_archive() -> None:
    told = CliRunner().invoke(app, ["bill", "show", "--by", "team"], env={"VOXFLEET_ARCHIVE": ""})
    assert told.exit_code == 2 and "name --archive URI" in told.output


def test_our_own_export_reconciles(folder: Path) -> None:
    path = exported(folder)
    code, output = run(folder, "reconcile", "--csv", path, *priced(folder), "--offline")
    assert code == 0, output
    assert "2026-11: 18 signed rows, 0 statements, 0 settled jobs" in output and "no differences" in output


def test_one_difference_is_one(folder: Path) -> None:
    path = exported(folder)
    edited(path, lambda rows: [row for row in rows if row["x_RowId"] != "chain-1#7"])
    code, output = run(folder, "reconcile", "--csv", path, *priced(folder), "--offline")
    assert code == 1 and output.rstrip().endswith(": 1 difference")


def test_each_change_of_an_export_is_told(folder: Path) -> None:
    path = exported(folder)

    def change(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        by_row = {row["x_RowId"]: row for row in rows if row["x_RowId"]}
        by_row["chain-1#4"]["x_MachineSeconds"] = "3600.001"
        by_row["chain-2#1"]["BilledCost"] = "99.01"
        by_row["chain-2#2"]["SkuId"] = "m5"
        idle = next(row for row in rows if row["x_Kind"] == "Idle")
        return [row for row in rows if row not in (by_row["chain-1#7"], idle)]

    edited(path, change)
    out = folder / "differences.csv"
    code, output = run(folder, "reconcile", "--csv", path, *priced(folder), "--offline", "--out", out)
    assert code == 1 and "5 differences" in output
    with out.open(newline="") as file:
        found = {(row["kind"], row["line"].split()[0]): row for row in csv.DictReader(file)}
    assert set(found) == {
        *(("Time", "chain-1#4"), ("Cost", "chain-2#1"), ("Sku", "chain-2#2"), ("Missing", "chain-1#7")),
        ("Missing", "Idle"),
    }
    assert found["Sku", "chain-2#2"]["sku"] == "m4 / m5"
    assert found["Time", "chain-1#4"]["ourSeconds"] == "3600.000"
    assert found["Time", "chain-1#4"]["theirSeconds"] == "3600.001"
    assert found["Cost", "chain-2#1"]["theirCost"] == "99.01"


def test_a_billing_key_that_looks_like_a_formula_reconciles(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text(BOOK)
    facts = MacFacts(since="2026-11-01T00:00:00Z", hardware_id="hardware-mac-01", lessor="acme", sku="m4")
    mac = SignedMac("mac-01", facts=(facts,), clock=datetime(2026, 11, 5, 22, tzinfo=UTC))
    mac.attempt("shard-1", billing_key="=1+1")
    mac.months()[0].write(tmp_path / "ledger")
    path = exported(tmp_path)
    assert ",'=1+1," in path.read_text()
    code, output = run(tmp_path, "reconcile", "--csv", path, *priced(tmp_path), "--offline")
    assert code == 0, output


def test_what_a_lessor_sends_is_no_formula_and_no_command_of_a_terminal(folder: Path) -> None:
    mapping, sent, out = folder / "columns.yaml", folder / "acme.csv", folder / "differences.csv"
    mapping.write_text("columns: {row: Row, hours: Hours, cost: Cost}\n")
    sent.write_text('Row,Hours,Cost\n"=HYPERLINK(""http://example.net"")",1,-2\n\x1b[2J,1,1\n')
    code, output = run(
        folder, "reconcile", "--csv", sent, "--mapping", mapping, "--offline", "--out", out, *priced(folder)
    )
    assert code == 1 and "\x1b" not in output and "\\x1b[2J" in output
    with out.open(newline="") as file:
        unknown = [line for line in csv.DictReader(file) if line["kind"] == "Unknown"]
    assert {(line["line"], line["theirCost"]) for line in unknown} == {
        ('\'=HYPERLINK("http://example.net")', "-2"),
        ("\\x1b[2J", "1"),
    }


def test_the_csv_of_a_lessor_is_read_by_its_mapping(folder: Path) -> None:
    mapping, sent = folder / "columns.yaml", folder / "acme.csv"
    mapping.write_text(
        "columns: {mac: Host, start: Tag, hours: Stunden}\nkey: [mac, day]\ndelimiter: ';'\ndecimalComma: true\n"
        "timeFormat: '%d.%m.%Y'\ntolerance: {milliseconds: 2000}\n"
    )
    sent.write_text("Host;Tag;Stunden\nmac-01;05.11.2026;1,2806\nmac-02;05.11.2026;1,3806\n")
    code, output = run(folder, "reconcile", "--csv", sent, "--mapping", mapping, "--offline", "-o", "json")
    told = json.loads(output)
    assert code == 1 and told["csvLines"] == 2
    (line,) = told["lines"]
    assert (line["kind"], line["line"], line["theirLineNumber"]) == ("Time", "mac-02 2026-11-05", "3")
    assert run(folder, "reconcile", "--mapping", mapping, "--offline")[0] == 2
    mapping.write_text("columns: {row: A}")
    code, output = run(folder, "reconcile", "--csv", sent, "--mapping", mapping, "--offline")
    assert code == 2 and "columns.yaml" in output
    mapping.write_bytes("columns: {hours: W\u00e4hrung}".encode("latin-1"))
    code, output = run(folder, "reconcile", "--csv", sent, "--mapping", mapping, "--offline")
    assert code == 2 and "columns.yaml" in output


def statement(mac: str, milliseconds: dict[str, int], rows: int, audio: int) -> MachineHourStatement:
    return MachineHourStatement.load(
        {
            "metadata": {"name": f"{mac}-2026-11"},
            "spec": {"mac": mac, "month": "2026-11"},
            "status": {
                **{f"{name}Seconds": seconds_text(value) for name, value in milliseconds.items()},
                "machineSeconds": seconds_text(sum(milliseconds.values())),
                "audioSeconds": seconds_text(audio),
                "rows": rows,
            },
        }
    )


def job(name: str, start: str, end: str, rows: int, audio: int, **milliseconds: int) -> AudioBatchJob:
    spec = {
        "contractRef": {"name": "calls"},
        "model": {"builtin": {"name": "commands"}},
        "input": {"prefix": {"uri": "file:///in/"}},
        "output": {"uri": "file:///out/"},
    }
    usage = {
        "machineSeconds": seconds_text(sum(milliseconds.values())),
        **{f"{key}Seconds": seconds_text(value) for key, value in milliseconds.items()},
        "audioSeconds": seconds_text(audio),
        "rows": rows,
        "settled": True,
    }
    return AudioBatchJob.load(
        {
            "metadata": {"name": name, "namespace": "speech", "uid": f"{name}-uid"},
            "spec": spec,
            "status": {"startTime": start, "completionTime": end, "usage": usage},
        }
    )


CLASSES = {"productive": 4_200_000, "retry": 350_000, "overhead": 60_000}
AUDIO = 20_000 * 4550
NIGHTLY = {"productive": 7_500_000, "retry": 700_000, "overhead": 100_000}


def test_statements_and_jobs_are_held_against_the_signed_rows(folder: Path) -> None:
    """The job `nightly` began in October."""
    nightly = job("nightly", "2026-10-31T23:50:00Z", "2026-11-06T01:00:00Z", 15, 20_000 * 8200, **NIGHTLY)
    other = job("other", "2026-10-01T00:00:00Z", "2026-10-02T00:00:00Z", 9, 1, productive=1)
    statements = [statement(f"mac-0{number}", CLASSES, 9, AUDIO) for number in (1, 2)]
    uri, file = (folder / "ledger").as_uri(), ComparedCsv(None, FOCUS_MAPPING, None)

    found = reconciled(uri, "2026-11", None, statements, [nightly, other], file, None, cluster=True)
    assert (found.sides, found.rows, found.statements, found.jobs) == ([], 18, 2, 1)

    statements[1] = statement("mac-02", {**CLASSES, "retry": 350_001}, 9, AUDIO)
    nightly = job("nightly", "2026-10-31T23:50:00Z", "2026-11-06T01:00:00Z", 14, 20_000 * 8200, **NIGHTLY)
    found = reconciled(uri, "2026-11", None, statements, [nightly], file, None, cluster=True)
    told = {(item.side, item.fact): (item.told, item.signed) for item in found.sides}
    assert told == {
        ("mhs/mac-02-2026-11", "machineSeconds"): ("4610.001", "4610.000"),
        ("mhs/mac-02-2026-11", "retrySeconds"): ("350.001", "350.000"),
        ("abj/speech/nightly", "rows"): ("14", "15"),
    }
    found = reconciled(uri, "2026-11", None, statements[:1], [], file, None, cluster=True)
    assert [(item.side, item.fact) for item in found.sides] == [("mac/mac-02", "statement")]


def test_a_month_without_rows_is_not_found(folder: Path) -> None:
    told = CliRunner().invoke(
        app,
        ["bill", "reconcile", "--offline", "--period", "2026-07", "--archive", (folder / "ledger").as_uri()],
    )
    assert told.exit_code == 3 and "no rows of 2026-07" in told.output


def test_a_budget_is_burned_down_by_night(folder: Path) -> None:
    out = folder / "burndown.csv"
    code, output = run(folder, "burndown", "--billing-key", "team-speech", "--csv", out, "--plot", *priced(folder))
    assert code == 1 and "budget" in output  # two hours of one
    with out.open(newline="") as file:
        nights = list(csv.DictReader(file))
    assert len(nights) == 30 and nights[4]["used_hours"] == "2.2167" and nights[4]["remaining_hours"] == "-1.2167"
    code, output = run(folder, "burndown", "--namespace", "calls", "--csv", "-", *priced(folder))
    assert code == 0 and output.startswith("date,budget_hours,used_hours,")
    code, output = run(folder, "burndown", "--namespace", "nobody", *priced(folder))
    assert code == 3 and "has no budget of nobody" in output
    assert run(folder, "burndown", *priced(folder))[0] == 2
    assert run(folder, "burndown", "--billing-key", "team-speech")[0] == 2


def test_the_time_of_a_warm_lane_is_billed_to_the_second(tmp_path: Path) -> None:
    """By hand, at 1.80 an hour: 20 s of loading, 3,580 s warm and idle, two hours of sessions."""
    (tmp_path / "prices.yaml").write_text(BOOK)
    facts = MacFacts(since="2026-11-05T20:00:00Z", hardware_id="hardware-mac-01", lessor="acme", sku="m4")
    mac = SignedMac("mac-01", facts=(facts,), clock=datetime(2026, 11, 5, 22, tzinfo=UTC))
    mac.warm_lane(
        (Activity.SETUP, timedelta(seconds=20)),
        (Activity.IDLE, timedelta(seconds=3580)),
        (Activity.WORK, timedelta(hours=2)),
    )
    mac.months()[0].write(tmp_path / "ledger")
    code, output = run(tmp_path, "show", "--by", "team", *priced(tmp_path), "-o", "json")
    assert code == 0, output
    (group,) = [one for one in json.loads(output)["groups"] if one["team"] == "voice"]
    assert group["machineMilliseconds"] == 10_800_000
    assert group["classes"] == {"Overhead": 3_600_000, "Productive": 7_200_000}
    path = exported(tmp_path)
    with path.open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["x_RowId"]]
    assert [(line["x_Activity"], line["x_MachineSeconds"], line["BilledCost"]) for line in lines] == [
        ("Setup", "20.000", "0.01"),
        ("Idle", "3580.000", "1.79"),
        ("Work", "7200.000", "3.6"),
    ]
    code, output = run(tmp_path, "reconcile", "--csv", path, *priced(tmp_path), "--offline")
    assert code == 0 and "no differences" in output, output
    code, output = run(tmp_path, "verify", "--offline")
    assert code == 0, output
    code, output = run(tmp_path, "dispute", "chain-1#1", "--offline")
    assert "warm without sessions" in output and "leave no result" in output
