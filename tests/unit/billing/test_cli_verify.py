"""`voxfleet bill verify` and `bill dispute` over an archive on disk, without a cluster."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.rig.signed_mac import SignedMac
from typer.testing import CliRunner

from voxfleet_api.kinds import MacAgent, MachineHourStatement
from voxfleet_billing import mac_processes
from voxfleet_billing.archive_format import MacFacts, TimeClass
from voxfleet_billing.verification_task import run_task
from voxfleet_cli.bill import verify
from voxfleet_cli.bill.cluster_side import ClusterSide
from voxfleet_cli.main import app

BOOK = """
lessors:
  - name: acme
    account: acme-1
    invoiceIssuer: Acme
    currency: EUR
    rounding: {unit: "0.0001", mode: HalfUp, at: Line}
    skus: [{name: m4, rates: [{from: 2026-01-01, listHourly: "3.60", contractedHourly: "1.80"}]}]
"""
FACTS = MacFacts(since="2026-11-01T00:00:00Z", hardware_id="hardware-mac-01", chip="Apple M4", lessor="acme", sku="m4")


@pytest.fixture
def macs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[SignedMac]:
    """Six, which are verified in this process."""
    monkeypatch.setattr(mac_processes, "FEW_MACS", 6)
    made = []
    for number in range(6):
        name = f"mac-{number + 1:02d}"
        mac = SignedMac(name, chain_id=f"chain-{number + 1}", facts=(FACTS,))
        mac.attempt(f"shard-{name}-0")
        mac.attempt(f"shard-{name}-1", work=TimeClass.RETRY)
        for month in mac.months():
            month.write(tmp_path)
        made.append(mac)
    return made


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    told = CliRunner().invoke(
        app, ["bill", *arguments, "--archive", folder.as_uri(), "--period", "2026-11", "--offline"]
    )
    return told.exit_code, told.output


def test_a_sound_archive_verifies_in_several_processes(
    tmp_path: Path, macs: list[SignedMac], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mac_processes, "FEW_MACS", 4)
    code, output = run(tmp_path, "verify")
    assert code == 0, output
    assert "2026-11: 6 Macs, 6 chains, 6 segments, 36 rows: all of it fits. Keys: of the archive itself." in output
    keys = tmp_path / "macs.keys"
    keys.write_text("\n".join(mac.ledger_key for mac in macs))
    monkeypatch.setattr(mac_processes, "FEW_MACS", 100)
    code, output = run(tmp_path, "verify", "--public-key", str(keys))
    assert code == 0 and "Keys: of --public-key." in output
    code, output = run(tmp_path, "verify", "--public-key", macs[0].ledger_key)
    assert code == 1 and "which is not pinned" in output


def test_a_changed_row_is_named(tmp_path: Path, macs: list[SignedMac]) -> None:
    (segment,) = (tmp_path / "2026-11/mac-01/rows").iterdir()
    segment.write_bytes(
        segment.read_bytes().replace(b'"monotonicMilliseconds":60000', b'"monotonicMilliseconds":90000', 1)
    )
    code, output = run(tmp_path, "verify", "-o", "json")
    told = json.loads(output)
    assert code == 1 and told["macs"] == 6
    assert {finding["mac"] for finding in told["findings"]} == {"mac-01"}
    assert {"Segment", "Row"} == {finding["check"] for finding in told["findings"]}
    assert "chain-1#1" in {finding["where"] for finding in told["findings"]}


def test_the_archive_has_to_be_named_and_there(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["bill", "verify", "--offline"], env={"VOXFLEET_ARCHIVE": ""})
    assert told.exit_code == 2 and "VOXFLEET_ARCHIVE" in told.output
    assert run(tmp_path / "nowhere", "verify")[0] == 3
    told = CliRunner().invoke(app, ["bill", "verify", "--period", "2026-13", "--offline"])
    assert told.exit_code == 2 and "2026-11" in told.output


def test_statements_say_what_has_to_be_archived(tmp_path: Path, macs: list[SignedMac]) -> None:
    last = macs[0].rows[-1]
    cursor = {"chainId": "chain-1", "sequence": 9, "hash": last.hash, "ledgerKey": macs[0].ledger_key}

    def statement(mac: str, month: str) -> MachineHourStatement:
        return MachineHourStatement.load(
            {
                "metadata": {"name": f"{mac}-{month}"},
                "spec": {"mac": mac, "month": month},
                "status": {"cursors": [cursor], "rows": 10},
            }
        )

    cluster = ClusterSide([statement("mac-01", "2026-11"), statement("mac-77", "2026-11")], list[MacAgent]())
    tasks, unarchived = verify.tasks_of(tmp_path.as_uri(), ["2026-11"], cluster, frozenset())
    assert [finding.where for finding in unarchived] == ["mac-77-2026-11"]
    (task,) = [task for task in tasks if task.indexes[0].mac == "mac-01"]
    assert task.pinned_keys == frozenset({macs[0].ledger_key})
    (finding,) = run_task(task).findings
    assert finding.where == "chain-1#9" and "the archive ends at #5" in finding.message
    (strange,) = run_task(next(task for task in tasks if task.indexes[0].mac == "mac-02")).findings
    assert "not pinned" in strange.message


def test_a_disputed_line_is_told_in_full(tmp_path: Path, macs: list[SignedMac]) -> None:
    book = tmp_path / "price-book.yaml"
    book.write_text(BOOK)
    options = ("-o", "json", "--price-book", str(book), "--public-key", macs[0].ledger_key)
    code, output = run(tmp_path, "dispute", "chain-1#1", "chain-1#4", *options)
    productive, retried = json.loads(output)
    assert code == 0 and productive["faults"] == [] and retried["faults"] == []
    assert productive["line"] == {
        "owner": "AudioBatchJob speech/nightly",
        "ownerUid": "nightly-uid",
        "shardUid": "shard-mac-01-0",
        "attempt": 1,
        "activity": "Work",
        "billingKey": "team-speech",
        "mac": "mac-01",
        "hardwareId": "hardware-mac-01",
        "chip": "Apple M4",
        "bootId": "boot-1",
        "lane": "offline/0",
        "priceClass": "Offline",
        "controlPlane": "cluster-1",
    }
    assert productive["time"]["billedSeconds"] == "60.000" and "note" not in productive["time"]
    assert productive["class"]["class"] == "Productive" and retried["class"]["class"] == "Retry"
    assert productive["price"]["billedCost"] == "0.03 EUR" and productive["price"]["listPerHour"] == "3.6"
    proof = productive["proof"]
    assert proof["signature"] == "holds" and proof["keyIsPinned"] == "yes"
    assert proof["before"].startswith("chain-1#0, whose hash it names")
    assert retried["proof"]["after"].startswith("chain-1#5, which names its hash")
    code, output = run(tmp_path, "dispute", "chain-1#5")
    assert code == 0 and "it is the last of its chain in this month" in output and "all of it fits" in output


def test_a_line_that_was_changed_does_not_fit(tmp_path: Path, macs: list[SignedMac]) -> None:
    (segment,) = (tmp_path / "2026-11/mac-01/rows").iterdir()
    lines = segment.read_bytes().splitlines(keepends=True)
    changed = lines[1].replace(b"60000", b"90000")
    segment.write_bytes(b"".join([lines[0], changed, *lines[3:]]))
    code, output = run(tmp_path, "dispute", "chain-1#1", "-o", "json")
    (told,) = json.loads(output)
    assert code == 1 and told["proof"]["signature"] == "DOES NOT HOLD"
    faults = " ".join(told["faults"])
    assert "was changed" in faults and "chain-1#2 is missing" in faults
    assert "the clock that bills was not" in told["time"]["note"]
    (tmp_path / "price-book.yaml").write_text(BOOK)
    code, output = run(
        tmp_path, "dispute", "chain-1#1", "-o", "json", "--price-book", str(tmp_path / "price-book.yaml")
    )
    (priced,) = json.loads(output)
    assert code == 1 and priced["faults"] == told["faults"] and "was changed" in priced["price"]["note"]
    code, output = run(tmp_path, "dispute", "chain-1#2")
    assert code == 1 and "it is not in its segment" in output


def test_a_line_whose_times_are_none_does_not_fit(tmp_path: Path) -> None:
    mac = SignedMac(clock=datetime(2026, 11, 2, tzinfo=UTC), facts=(FACTS,))
    mac.attempt(wall_end="2026-11-31T00:00:00Z")
    (month,) = mac.months()
    month.write(tmp_path)
    code, output = run(tmp_path, "dispute", "chain-1#1", "-o", "json")
    (told,) = json.loads(output)
    assert code == 1 and told["proof"]["signature"] == "holds"
    assert told["faults"] == ["its wall times are none: day is out of range for month"]
    assert told["time"]["billedSeconds"] == "60.000"


def test_a_line_from_before_the_first_facts_has_the_chip_that_its_price_goes_by(tmp_path: Path) -> None:
    late = FACTS.model_copy(update={"since": "2026-11-20T00:00:00Z"})
    mac = SignedMac(clock=datetime(2026, 11, 2, tzinfo=UTC), facts=(late,))
    mac.attempt()
    (month,) = mac.months()
    month.write(tmp_path)
    code, output = run(tmp_path, "dispute", "chain-1#1", "-o", "json")
    (told,) = json.loads(output)
    assert code == 0 and told["line"]["chip"] == "Apple M4"


def test_time_asleep_is_told_apart(tmp_path: Path) -> None:
    mac = SignedMac(clock=datetime(2026, 11, 2, tzinfo=UTC))
    mac.attempt(monotonic_milliseconds=500)
    (month,) = mac.months()
    month.write(tmp_path)
    code, output = run(tmp_path, "dispute", "chain-1#1")
    assert code == 0 and "for 59.500 s the Mac slept" in output


@pytest.mark.parametrize(("row", "code"), [("chain-1", 2), ("chain-1#x", 2), ("chain-1#77", 3)])
def test_a_row_that_is_none(tmp_path: Path, macs: list[SignedMac], row: str, code: int) -> None:
    assert run(tmp_path, "dispute", row)[0] == code
