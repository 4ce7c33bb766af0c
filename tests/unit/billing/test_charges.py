"""The lines of a month's bill."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from tests.rig.archived_month import (
    MONTH_START,
    ArchivedMac,
    ArchivedMonth,
    Estimate,
    facts,
    one_mac,
    row,
)
from tests.rig.price_books import book, lessor, rate, sku

from voxfleet_api.kinds.mac_availability import OpeningHours
from voxfleet_billing.charge import Charge, ChargeKind, Money
from voxfleet_billing.instants import DAY_MILLISECONDS
from voxfleet_billing.mac_charges import Unbillable
from voxfleet_billing.money import added

RENTED_ONCE = facts(since="2026-11-20T20:00:00Z", until="2026-11-21T02:00:00Z")
"""Six hours."""


def money(line: Charge) -> Money:
    assert line.money is not None, line.note
    return line.money


def of(kind: ChargeKind, lines: list[Charge]) -> list[Charge]:
    return [line for line in lines if line.kind is kind]


def billed(lines: list[Charge]) -> Decimal:
    return added(money(line).billed_cost for line in lines)


def test_a_row_is_a_line_and_names_its_row() -> None:
    (line,) = of(ChargeKind.USAGE, one_mac(row(), facts=(RENTED_ONCE,)).charges(book()))
    assert (line.row_name, line.row_hash, line.mac) == ("chain-1#0", "ab" * 32, "mac-01")
    assert (line.milliseconds, line.time_class, line.price_class) == (3_600_000, "Productive", "Offline")
    assert (line.lessor, line.sku, line.lessor_billing_key) == ("acme", "m4pro-48", "ACME-4711")
    assert line.machine == "Apple M4 Pro, 48 GiB"
    assert (money(line).list_cost, money(line).contracted_cost) == (Decimal("2.40"), Decimal(2))
    assert money(line).billed_cost == Decimal("2.00")


def test_idle_is_what_the_rows_leave_of_rented_time() -> None:
    """Two lanes at the same time are one Mac's time."""
    rows = (row("2026-11-20T22:00:00Z"), row("2026-11-20T22:30:00Z", lane="offline/1"))
    idle = of(ChargeKind.IDLE, one_mac(*rows, facts=(RENTED_ONCE,)).charges(book()))
    assert [(line.start, line.milliseconds) for line in idle] == [
        ("2026-11-20T20:00:00.000Z", int(2.5 * 3_600_000)),
        ("2026-11-21T00:00:00.000Z", 2 * 3_600_000),
    ]
    assert billed(idle) == Decimal("2.25")


def test_time_that_has_not_passed_is_not_idle() -> None:
    lines = one_mac(facts=(facts(),)).charges(book(), until=MONTH_START + 3 * DAY_MILLISECONDS)
    assert sum(line.milliseconds for line in of(ChargeKind.IDLE, lines)) == 3 * DAY_MILLISECONDS


def test_the_rate_is_that_of_the_day_and_the_price_class() -> None:
    rates = [rate("2026-01-01", until="2026-11-15"), rate("2026-11-15", contractedHourly="1.00")]
    prices = book(lessor(skus=[sku(rates=rates), sku(priceClass="Interactive", rates=[rate("2026-01-01")])]))
    rows = (
        row("2026-11-14T10:00:00Z"),
        row("2026-11-15T10:00:00Z"),
        row("2026-11-15T12:00:00Z", price_class="Interactive"),
    )
    lines = of(ChargeKind.USAGE, one_mac(*rows, facts=(facts(),)).charges(prices))
    assert [money(line).contracted_unit_price for line in lines] == [Decimal("2.00"), Decimal("1.00"), Decimal("2.00")]


def test_a_row_has_the_facts_of_its_time_and_machine() -> None:
    then = (
        facts(),
        facts(since="2026-11-10T00:00:00Z", sku="mini"),
        facts(since="2026-11-20T00:00:00Z", hardware_id="hardware-2", sku="studio"),
    )
    rows = (row("2026-11-09T10:00:00Z"), row("2026-11-10T10:00:00Z"), row("2026-11-21T10:00:00Z"))
    lines = of(ChargeKind.USAGE, one_mac(*rows, facts=then).charges(book()))
    assert [line.sku for line in lines] == ["m4pro-48", "mini", "mini"]
    assert "has no SKU mini" in lines[1].note and lines[1].money is None


@pytest.mark.parametrize(
    ("then", "note"),
    [
        (facts(lessor=None), "the Mac had no lessor"),
        (facts(lessor="other"), "the price book has no lessor other"),
        (facts(sku=None), "has no SKU None"),
    ],
)
def test_a_line_without_a_price_says_why(then: object, note: str) -> None:
    (line,) = of(ChargeKind.USAGE, one_mac(row(), facts=(then,)).charges(book()))  # type: ignore[arg-type]
    assert line.money is None and note in line.note


def test_without_a_price_book_lines_have_no_money() -> None:
    lines = one_mac(row(), facts=(RENTED_ONCE,)).charges(None)
    assert {line.kind for line in lines} == {ChargeKind.USAGE, ChargeKind.IDLE}
    assert all(line.money is None for line in lines)


def test_a_late_row_is_a_correction() -> None:
    """It has the rate of its day, and no part in what is counted by day or month."""
    prices = book(
        lessor(
            minimumCharge={"per": "Day", "hours": 8},
            monthlyFees=[{"name": "rack", "amount": "10", "from": "2026-01-01"}],
            commitments=[{"hoursPerMonth": 10, "hourly": "1", "from": "2026-01-01"}],
        )
    )
    lines = one_mac(row("2026-10-30T10:00:00Z")).charges(prices)
    late = one_mac(row("2026-10-30T10:00:00Z"), facts=(facts(until="2026-10-31T00:00:00Z"),)).charges(prices)
    assert of(ChargeKind.USAGE, lines)[0].correction
    (line,) = of(ChargeKind.USAGE, late)
    assert line.correction and money(line).billed_cost == Decimal("2.00") and not line.commitment
    assert of(ChargeKind.MINIMUM, late) == []
    assert [found.namespace for found in of(ChargeKind.FIXED, late)] == [""]


def test_foreign_time_is_shown_and_costs_nothing_here() -> None:
    (line,) = of(ChargeKind.USAGE, one_mac(row(time_class="Foreign"), facts=(RENTED_ONCE,)).charges(book()))
    assert money(line).billed_cost == 0 and "another control plane" in line.note


def test_estimated_time_is_shown_and_never_charged() -> None:
    month = one_mac(facts=(RENTED_ONCE,), settlements={("shard-9", 2): Estimate(5000), ("shard-1", 1): Estimate(0)})
    (line,) = of(ChargeKind.ESTIMATED, month.charges(book()))
    assert (line.shard_uid, line.attempt, line.milliseconds, line.money) == ("shard-9", 2, 5000, None)
    assert line.namespace == "speech"


MINIMUMS = {
    "hours of a day": ({"per": "Day", "hours": 3}, [("2026-11-10", "3.00")]),
    "an amount of a day": ({"per": "Day", "amount": "5"}, [("2026-11-10", "3.50")]),
    "hours of a month": ({"per": "Month", "hours": 10}, [("2026-11-01", "10.00")]),
    "an amount of a month": ({"per": "Month", "amount": "100"}, [("2026-11-01", "93.00")]),
    "hours of a row": ({"per": "Row", "hours": 2}, [("2026-11-10", "3.00")]),
    "an amount that is reached": ({"per": "Month", "amount": "7.00"}, []),
}


@pytest.mark.parametrize("case", MINIMUMS)
def test_what_is_missing_to_a_minimum_is_a_line(case: str) -> None:
    """On the 10th 0.5 hours ran and 1 was idle; on the 11th 2.5 ran and 0.5 were idle; on the 12th nothing ran."""
    minimum, expected = MINIMUMS[case]
    then = (
        facts(since="2026-11-10T22:30:00Z", until="2026-11-11T03:00:00Z"),
        facts(since="2026-11-12T00:00:00Z", until="2026-11-12T00:30:00Z"),
    )
    rows = (row("2026-11-10T22:30:00Z", 1800), row("2026-11-11T00:00:00Z", 9000))
    lines = one_mac(*rows, facts=then).charges(book(lessor(minimumCharge=minimum)))
    assert billed(of(ChargeKind.USAGE, lines)) == 6 and billed(of(ChargeKind.IDLE, lines)) == 1
    found = of(ChargeKind.MINIMUM, lines)
    assert [(line.start[:10], f"{money(line).billed_cost:.2f}") for line in found] == expected


def test_committed_hours_are_paid_once_used_or_not() -> None:
    """Of three rows the second does not fit as a whole into what the first left; the third does."""
    prices = book(lessor(commitments=[{"sku": "m4pro-48", "hoursPerMonth": 3, "hourly": "1.50", "from": "2026-11-01"}]))
    rows = (
        row("2026-11-10T00:00:00Z", 7200),
        row("2026-11-10T02:00:00Z", 7200),
        row("2026-11-10T04:00:00Z", 1800),
    )
    lines = one_mac(*rows, facts=(facts(until="2026-11-01T00:00:00Z"),)).charges(prices)
    usage = of(ChargeKind.USAGE, lines)
    assert [line.commitment_status for line in usage] == ["Used", "", "Used"]
    assert [money(line).billed_cost for line in usage] == [Decimal(0), Decimal("4.00"), Decimal(0)]
    bought, unused = of(ChargeKind.COMMITMENT, lines)
    assert (bought.commitment_status, money(bought).billed_cost) == ("Purchased", Decimal("4.50"))
    assert (unused.commitment_status, money(unused).quantity) == ("Unused", Decimal("0.5"))
    of_it = [line for line in lines if line.commitment and line.commitment_status != "Purchased"]
    assert added(money(line).effective_cost for line in of_it) == money(bought).billed_cost


def test_a_fee_is_shared_by_usage_to_the_cent() -> None:
    prices = book(
        lessor(monthlyFees=[{"name": "rack", "amount": "100.00", "from": "2026-01-01"}]),
        teams=[{"name": "support", "namespaces": ["calls"]}],
    )
    rows = (
        row("2026-11-10T00:00:00Z", 100),
        row("2026-11-10T01:00:00Z", 100, owner_namespace="calls", billing_key=None),
        row("2026-11-10T02:00:00Z", 100, billing_key="team-b"),
    )
    shared = of(ChargeKind.FIXED, one_mac(*rows, facts=(facts(),)).charges(prices))
    assert [(line.namespace, line.billing_key, line.team) for line in shared] == [
        ("calls", "", "support"),
        ("speech", "team-b", ""),
        ("speech", "team-speech", ""),
    ]
    assert [money(line).billed_cost for line in shared] == [Decimal("33.34"), Decimal("33.33"), Decimal("33.33")]


def test_an_invoice_is_rounded_once() -> None:
    rows = [row(f"2026-11-10T00:0{minute}:00Z", 1) for minute in range(9)]
    at_invoice = lessor(rounding={"unit": "0.01", "mode": "HalfUp", "at": "Invoice"})
    month = one_mac(*rows, facts=(facts(until="2026-11-01T00:00:00Z"),))
    lines = month.charges(book(at_invoice))
    (difference,) = of(ChargeKind.ROUNDING, lines)
    assert billed(lines) == Decimal("0.01")  # nine times 0.000555…
    assert money(difference).billed_cost == Decimal("0.01") - billed(of(ChargeKind.USAGE, lines))
    assert billed(month.charges(book())) == Decimal("0.00")  # each line by itself


def test_lessors_have_their_own_currencies_and_invoices() -> None:
    other = lessor(name="own", currency="USD", skus=[sku(name="mini")])
    macs = {
        "mac-01": ArchivedMac([row()], (facts(),)),
        "mac-02": ArchivedMac([row()], (facts(lessor="own", sku="mini"),)),
    }
    lines = of(ChargeKind.USAGE, ArchivedMonth(macs).charges(book(lessor(), other)))
    assert [(line.mac, money(line).currency) for line in lines] == [("mac-01", "EUR"), ("mac-02", "USD")]


def test_lines_are_in_order() -> None:
    prices = book(
        lessor(
            minimumCharge={"per": "Day", "hours": 30},
            commitments=[{"hoursPerMonth": 10, "hourly": "1", "from": "2026-01-01"}],
            monthlyFees=[{"name": "rack", "amount": "1", "from": "2026-01-01"}],
            rounding={"unit": "0.05", "mode": "Up", "at": "Invoice"},
        )
    )
    mac = ArchivedMac([row("2026-11-20T22:00:00Z", 100)], (RENTED_ONCE,), {("shard-9", 1): Estimate(5)})
    kinds = [line.kind.value for line in ArchivedMonth({"b": mac, "a": mac}).charges(prices)]
    assert kinds == [
        *["Usage", "Estimated", "Idle", "Idle", "Minimum"] * 2,
        "Commitment",
        "Commitment",
        "Fixed",
        "Rounding",
    ]


def test_hours_that_cannot_be_read_name_the_mac() -> None:
    night = OpeningHours.load({"timeZone": "UTC", "windows": [{"start": "20:00", "end": "06:00"}]})
    then = facts().model_copy(update={"availability": night.model_copy(update={"time_zone": "Europe/Nowhere"})})
    with pytest.raises(Unbillable, match=r"Mac mac-01: .*Europe/Nowhere"):
        one_mac(facts=(then,)).charges(book())


@pytest.mark.parametrize("end", ["yesterday", "2026-11-31T22:00:00Z", "2026-11-20T23:00:00"])
def test_a_row_whose_times_are_none_is_named(end: str) -> None:
    with pytest.raises(Unbillable, match="Mac mac-01: row chain-1#0: its wall times are none"):
        one_mac(replace(row(), wall_end=end), facts=(RENTED_ONCE,)).charges(book())


def test_a_minimum_is_billed_to_the_account_at_its_own_lessor() -> None:
    """The Mac had two in the month."""
    per_month = {"minimumCharge": {"per": "Month", "amount": "500"}}
    prices = book(lessor(**per_month), lessor(name="other", skus=[sku(name="m4")], **per_month))
    then = facts(until="2026-11-10T00:00:00Z")
    now = facts(since="2026-11-20T00:00:00Z", lessor="other", sku="m4", billing_key="OTHER-1")
    month = one_mac(row("2026-11-02T00:00:00Z"), row("2026-11-22T00:00:00Z"), facts=(then, now))
    minimums = of(ChargeKind.MINIMUM, month.charges(prices))
    assert [(line.lessor, line.sku, line.lessor_billing_key) for line in minimums] == [
        ("acme", "m4pro-48", "ACME-4711"),
        ("other", "m4", "OTHER-1"),
    ]
