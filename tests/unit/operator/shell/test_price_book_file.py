"""A price book that is replaced, broken and mended while the operator runs, and what people are told of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from tests.rig.price_books import book

from voxfleet_billing.budget_use import Payer
from voxfleet_operator.event_reasons import Announced, EventReason
from voxfleet_operator.metering.budget_accounts import BudgetAccounts
from voxfleet_operator.monitoring.budget_collector import BudgetCollector
from voxfleet_operator.price_book_file import MAX_BYTES, PriceBookFile
from voxfleet_operator.price_book_watch import PriceBookWatch

SOUND = 'budgets: [{billingKey: speech, machineHoursPerMonth: "2", policy: Hold}]'
OTHER = 'budgets: [{billingKey: speech, machineHoursPerMonth: "4", policy: Hold}]'
LEASE = {"kind": "Lease", "name": "voxfleet-operator", "uid": "u"}
HOUR = 3_600_000


class Told:
    def __init__(self, path: Path) -> None:
        self.file = PriceBookFile(path)
        self.accounts = BudgetAccounts(lambda: self.file.book)
        self.events: list[tuple[Announced, str]] = []
        self.changes = 0
        self.watch = PriceBookWatch(self.file, self.accounts, self._publish, lambda: LEASE, self._changed)

    def _publish(self, about: Mapping[str, str], reason: Announced, note: str) -> None:
        assert about is LEASE
        self.events.append((reason, note))

    def _changed(self) -> None:
        self.changes += 1

    def metrics(self) -> str:
        registry = CollectorRegistry()
        registry.register(BudgetCollector(self.file, self.accounts))
        return generate_latest(registry).decode()


async def test_a_book_is_read_again_when_its_content_changes(tmp_path: Path) -> None:
    path = tmp_path / "book.yaml"
    path.write_text(SOUND)
    told = Told(path)
    await told.watch.look()
    await told.watch.look()
    assert told.changes == 1 and told.file.book is not None
    first = told.file.book.digest
    path.write_text(OTHER)
    await told.watch.look()
    assert told.changes == 2 and told.file.book.digest != first and not told.events
    path.write_text(f"{OTHER}\n# a comment")
    await told.watch.look()
    assert told.changes == 3 and told.file.problem is None


async def test_what_replaces_a_mounted_config_map_is_read(tmp_path: Path) -> None:
    """The kubelet makes a folder for each version, and moves a link to it."""
    for version, text in (("one", SOUND), ("two", OTHER)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "book.yaml").write_text(text)
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "book.yaml").symlink_to("..data/book.yaml")
    told = Told(tmp_path / "book.yaml")
    await told.watch.look()
    (tmp_path / "..new").symlink_to("two")
    (tmp_path / "..new").rename(tmp_path / "..data")
    await told.watch.look()
    assert told.changes == 2 and told.accounts.budgets[0].machine_hours_per_month == 4


async def test_a_bad_book_leaves_the_last_good_one_and_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "book.yaml"
    path.write_text(SOUND)
    told = Told(path)
    await told.watch.look()
    for bad, why in (
        ("budgets: [{billingKey: speech, machineHoursPerMonth: 2.5}]", "budgets[0].machineHoursPerMonth"),
        ("budgets: [", "no YAML"),
        ("lessors: [{from: 2026-02-30}]", "no YAML: day is out of range for month"),
        ("budgets: {{ .Values.budgets }}", "no YAML"),
        ("lessors: [{skus: [{rates: [{from: 2026-11-31}]}]}]", "day is out of range"),
        ("[" * 100_000, "no YAML"),
        ("\udcff".encode(errors="surrogateescape"), "decode"),
        (b"#" * (MAX_BYTES + 1), "write fewer entries"),
    ):
        path.write_bytes(bad if isinstance(bad, bytes) else bad.encode())
        await told.watch.look()
        await told.watch.look()
        reason, note = told.events.pop()
        assert reason is EventReason.PRICE_BOOK_REFUSED and why in note and "still counts" in note and not told.events
        assert told.accounts.budgets[0].machine_hours_per_month == 2
        assert "voxfleet_price_book_usable 0.0" in told.metrics()
    path.unlink()
    await told.watch.look()
    assert "No such file" in told.events.pop()[1]
    path.write_text(OTHER)
    await told.watch.look()
    assert told.accounts.budgets[0].machine_hours_per_month == 4 and "voxfleet_price_book_usable 1.0" in told.metrics()


async def test_a_missing_book_is_told_and_prices_nothing(tmp_path: Path) -> None:
    told = Told(tmp_path / "none.yaml")
    await told.watch.look()
    ((reason, note),) = told.events
    assert reason is EventReason.PRICE_BOOK_REFUSED and note.endswith("no prices and budgets are known")
    assert told.accounts.budgets == () and told.file.book is None


async def test_thresholds_are_told_with_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "book.yaml"
    path.write_text(SOUND)
    told = Told(path)
    await told.watch.look()
    told.accounts.found({}, {}, "2026-11")
    told.accounts.found({Payer("team", "speech"): 2 * HOUR}, {}, "2026-11")
    await told.watch.look()
    await told.watch.look()
    assert told.events == [
        (EventReason.BUDGET_THRESHOLD_REACHED, f"budget of billing key speech reached {percent} %: {USED}")
        for percent in (50, 80)
    ] + [(EventReason.BUDGET_EXHAUSTED, f"budget of billing key speech reached 100 %: {USED}; its new shards wait")]
    labels = '{billing_key="speech",namespace=""}'
    for line in (
        f"voxfleet_budget_used_machine_seconds{labels} 7200.0",
        f"voxfleet_budget_limit_machine_seconds{labels} 7200.0",
        f"voxfleet_budget_used_ratio{labels} 1.0",
        f"voxfleet_budget_holds{labels} 1.0",
    ):
        assert line in told.metrics()


USED = "2.0 of 2 machine-hours used in 2026-11"


def test_a_book_without_budgets_has_no_series() -> None:
    accounts = BudgetAccounts(lambda: book())
    accounts.found({}, {}, "2026-11")
    assert accounts.uses == ()
