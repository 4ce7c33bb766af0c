"""The report of a month, from a signed archive on disk: its figures are those of `voxfleet bill show`."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.rig.signed_mac import SignedMac
from typer.testing import CliRunner

from voxfleet_billing.archive_format import MacFacts, TimeClass
from voxfleet_billing.instants import milliseconds_of
from voxfleet_cli.main import app

BOOK = """
lessors:
  - name: acme
    account: acme-1
    invoiceIssuer: Acme
    currency: EUR
    rounding: {unit: "0.0001", mode: HalfUp, at: Line}
    skus: [{name: m4, rates: [{from: 2026-01-01, listHourly: "3.60", contractedHourly: "1.80"}]}]
budgets: [{namespace: speech, machineHoursPerMonth: "1000"}]
"""
FACTS = MacFacts(since="2026-11-01T00:00:00Z", hardware_id="hardware-mac-01", chip="Apple M4", lessor="acme", sku="m4")


class _Figures(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("data-figure"):
            self.found[given["data-figure"] or ""] = given["data-value"] or ""


def test_the_report_of_a_month_says_what_bill_show_says(tmp_path: Path) -> None:
    for number in (1, 2):
        mac = SignedMac(f"mac-{number:02d}", chain_id=f"chain-{number}", facts=(FACTS,))
        mac.attempt(f"shard-{number}-0")
        mac.attempt(f"shard-{number}-1", work=TimeClass.RETRY)
        for month in mac.months():
            month.write(tmp_path / "ledger")
    (tmp_path / "book.yaml").write_text(BOOK)
    chosen = ["--period", "2026-11", "--archive", (tmp_path / "ledger").as_uri()]
    chosen += ["--price-book", str(tmp_path / "book.yaml")]
    out = tmp_path / "month.html"
    told = CliRunner().invoke(app, ["report", *chosen, "--out", str(out)])
    assert told.exit_code == 0 and told.output == f"{out}\n", told.output
    figures = _Figures(out.read_text(encoding="utf-8")).found
    shown = CliRunner().invoke(app, ["bill", "show", *chosen, "-o", "json"])
    bill = json.loads(shown.output)
    whole = bill["total"]
    assert figures["machineMilliseconds"] == str(whole["machineMilliseconds"])
    for time_class, key in {"Productive": "productive", "Retry": "retry", "Overhead": "overhead"}.items():
        assert figures[f"{key}Milliseconds"] == str(whole["classes"][time_class])
        nights = [int(v) for k, v in figures.items() if k.startswith("night.") and k.endswith(f".{key}Milliseconds")]
        assert len(nights) == 30 and sum(nights) == whole["classes"][time_class]
    assert figures["cost.EUR"] == whole["costs"]["EUR"]
    assert (figures["rows"], figures["clips"]) == (str(whole["rows"]), str(whole["clips"]))
    for group in bill["groups"]:
        assert figures[f"mac.{group['mac']}.machineMilliseconds"] == str(group["machineMilliseconds"])
    assert "budget.namespace speech.percent" in figures


def test_the_time_of_today_is_not_idle_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxfleet_cli.report.command.last_midnight", lambda: milliseconds_of("2026-11-03T00:00:00Z"))
    mac = SignedMac("mac-01", chain_id="chain-1", facts=(FACTS,))
    mac.attempt("shard-1-0")
    for month in mac.months():
        month.write(tmp_path / "ledger")
    out = tmp_path / "month.html"
    told = CliRunner().invoke(
        app, ["report", "--period", "2026-11", "--archive", (tmp_path / "ledger").as_uri(), "--out", str(out)]
    )
    assert told.exit_code == 0, told.output
    figures = _Figures(out.read_text(encoding="utf-8")).found
    idle = {night for night in range(1, 31) if figures[f"night.2026-11-{night:02d}.idleMilliseconds"] != "0"}
    assert idle == {1, 2}


def test_what_is_missing_is_named() -> None:
    told = CliRunner().invoke(app, ["report", "--period", "2026-11"], env={"VOXFLEET_ARCHIVE": ""})
    assert told.exit_code == 2 and "--archive URI" in told.output
    told = CliRunner().invoke(app, ["report", "nightly", "--period", "2026-11"])
    assert told.exit_code == 2 and "either a job or" in told.output
