"""The FinOps Foundation's validator takes our FOCUS 1.2 files, with the rules that it brings along and no network."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree

from tests.rig.archived_month import MONTH, Estimate, facts, one_mac, row
from tests.rig.price_books import book, lessor

from voxfleet_billing.charge import ChargeKind
from voxfleet_billing.exports.csv_file import write_csv
from voxfleet_billing.exports.focus import FocusVersion, focus_header, focus_lines
from voxfleet_billing.exports.tally import Tally
from voxfleet_dev.focus_environment import validator

PRICES = book(
    lessor(
        minimumCharge={"per": "Day", "hours": 25},
        commitments=[{"hoursPerMonth": 3, "hourly": "1.1", "from": "2026-11-01"}],
        monthlyFees=[{"name": "rack", "amount": "10.01", "from": "2026-01-01"}],
        rounding={"unit": "0.05", "mode": "Up", "at": "Invoice"},
    ),
    teams=[{"name": "speech", "billingKeys": ["team-speech"]}],
)
LEDGER = one_mac(
    row(),
    row("2026-10-02T00:00:00Z", 123.456),
    row("2026-11-21T00:00:00Z", 7200),
    row("2026-11-21T03:00:00Z", 7200, owner_namespace="calls", billing_key=None, time_class="Retry"),
    row("2026-11-22T00:00:00Z", 60, time_class="Foreign"),
    facts=(facts(since="2026-11-20T12:00:00Z", until="2026-11-25T00:00:00Z"),),
    settlements={("shard-9", 1): Estimate(5000)},
)


def test_the_validator_finds_no_fault(tmp_path: Path) -> None:
    program = validator()
    tally, file = Tally(), tmp_path / "bill.csv"
    lines = tally.counted(LEDGER.charges(PRICES))
    write_csv(file, focus_header(FocusVersion.V1_2), focus_lines(FocusVersion.V1_2, MONTH, lines, PRICES))
    assert set(tally.kinds) == set(ChargeKind), "the file has each kind of line"
    report = tmp_path / "report.xml"
    (package,) = program.parent.parent.glob("lib/python*/site-packages/focus_validator")
    done = subprocess.run(
        [
            *(program, "--data-file", file, "--validate-version", "1.2", "--block-download"),
            *("--output-type", "unittest", "--output-destination", report),
        ],
        cwd=package.parent,  # it looks for its list of currencies from there
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    passed, failed = _outcomes(report)
    assert len(passed) > 100
    assert failed - _other_alternatives(package, passed) == set()


def _outcomes(report: Path) -> tuple[set[str], set[str]]:
    """The rules that passed, and those that failed; the others do not apply."""
    passed, failed = set(), set()
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 # written by the program that just ran
        name = case.attrib["name"].split(" ")[0]
        if case.find("failure") is not None or case.find("error") is not None:
            failed.add(name)
        elif case.find("skipped") is None:
            passed.add(name)
    return passed, failed


def _other_alternatives(package: Path, passed: set[str]) -> set[str]:
    """Of two rules of which one has to hold, both are reported: with InvoiceId, that it is null, and that it is not."""
    (model,) = package.glob("rules/model-1.2*.json")
    alternatives = set()
    for name, rule in json.loads(model.read_text())["ModelRules"].items():
        requirement = rule["ValidationCriteria"]["Requirement"]
        if name in passed and requirement.get("CheckFunction") == "OR":
            alternatives |= {item.get("ModelRuleId", "") for item in requirement["Items"]}
    return alternatives
