"""What holds of the bill of any ledger: nothing lost, nothing twice, every cent accounted for."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rig.archived_month import MONTH, MONTH_END, MONTH_START, ArchivedMac, ArchivedMonth, row
from tests.unit.billing.ledgers import MACS, books, months

from voxfleet_billing.charge import Charge, ChargeKind
from voxfleet_billing.exports.focus import FocusVersion, focus_lines
from voxfleet_billing.idle import merged, rented
from voxfleet_billing.instants import DAY_MILLISECONDS, milliseconds_of
from voxfleet_billing.money import added, hours_of, rounded
from voxfleet_billing.price_book import PriceBook, RoundedAt


def exported(month: ArchivedMonth, prices: PriceBook) -> str:
    return "".join(focus_lines(FocusVersion.V1_2, MONTH, month.charges(prices), prices))


def of(kind: ChargeKind, lines: list[Charge]) -> list[Charge]:
    return [line for line in lines if line.kind is kind]


@settings(max_examples=25)
@given(months(), books())
def test_each_row_is_one_line_with_its_milliseconds(month: ArchivedMonth, prices: PriceBook) -> None:
    lines = of(ChargeKind.USAGE, month.charges(prices))
    rows = [entry for mac in month.macs.values() for entry in mac.rows]
    assert {line.row_name: line.milliseconds for line in lines} == {
        f"{entry.chain_id}#{entry.sequence}": entry.milliseconds for entry in rows
    }
    assert len(lines) == len(rows)
    by_lane: dict[tuple[str, str], list[Charge]] = {}
    for line in lines:
        by_lane.setdefault((line.mac, line.lane), []).append(line)
    for of_lane in by_lane.values():
        ordered = sorted(of_lane, key=lambda line: (line.start, line.end))
        assert all(first.end <= second.start for first, second in pairwise(ordered))


@settings(max_examples=25)
@given(months(), books())
def test_idle_time_and_the_union_of_rows_are_rented_time(month: ArchivedMonth, prices: PriceBook) -> None:
    lines = month.charges(prices)
    for mac, found in month.macs.items():
        parts = [part for part, _ in rented(found.facts, MONTH_START, MONTH_END)]
        ran = merged((milliseconds_of(entry.wall_start), milliseconds_of(entry.wall_end)) for entry in found.rows)
        within = [
            (max(start, first), min(end, last))
            for start, end in parts
            for first, last in ran
            if max(start, first) < min(end, last)
        ]
        idle = [line for line in of(ChargeKind.IDLE, lines) if line.mac == mac]
        assert sum(line.milliseconds for line in idle) + sum(end - start for start, end in within) == sum(
            end - start for start, end in parts
        )
        days = [milliseconds_of(line.start) // DAY_MILLISECONDS for line in idle]
        assert days == sorted(set(days)), "one line a day"


@settings(max_examples=25)
@given(months(), books())
def test_the_same_ledger_is_exported_alike(month: ArchivedMonth, prices: PriceBook) -> None:
    shuffled = {
        mac: ArchivedMac(list(reversed(found.rows)), found.facts) for mac, found in reversed(list(month.macs.items()))
    }
    assert exported(month, prices) == exported(ArchivedMonth(shuffled), prices)


@settings(max_examples=25)
@given(months(), books(), st.sampled_from(MACS))
def test_a_late_row_only_adds_lines(month: ArchivedMonth, prices: PriceBook, mac: str) -> None:
    late = row("2026-10-02T00:00:00Z", hardware_id=mac, chain_id="late")
    found = month.macs[mac]
    with_it = ArchivedMonth({**month.macs, mac: ArchivedMac([*found.rows, late], found.facts)})

    def lines(of_month: ArchivedMonth) -> list[Charge]:
        return [line for line in of_month.charges(prices) if line.kind is not ChargeKind.ROUNDING]

    before, after = lines(month), lines(with_it)
    new = [line for line in after if line.row_name.startswith("late")]
    assert [line for line in after if line not in new] == before
    assert len(new) >= 1 and all(line.correction for line in new)


@settings(max_examples=25)
@given(months(), books())
def test_money_adds_up(month: ArchivedMonth, prices: PriceBook) -> None:
    (acme,), lines = prices.lessors, month.charges(prices)
    fees = added(fee.amount for fee in acme.monthly_fees)
    assert added(line.money.list_cost for line in of(ChargeKind.FIXED, lines) if line.money) == fees
    bought = [line for line in lines if line.commitment_status == "Purchased" and line.money]
    parts = [line for line in lines if line.commitment_status in ("Used", "Unused") and line.money]
    assert added(line.money.effective_cost for line in parts if line.money) == added(
        line.money.contracted_cost for line in bought if line.money
    )
    total = added(line.money.billed_cost for line in lines if line.money)
    assert total == rounded(total, acme.rounding.unit, acme.rounding.mode)
    for line in lines:
        if line.money is None or line.kind is ChargeKind.ROUNDING:
            continue
        exact = line.money.contracted_unit_price * line.money.quantity
        assert abs(exact - line.money.contracted_cost) < Decimal("1e-15")
        if line.kind in (ChargeKind.USAGE, ChargeKind.IDLE):
            assert line.money.quantity == hours_of(line.milliseconds)
        if acme.rounding.at is RoundedAt.LINE:
            assert line.money.billed_cost % acme.rounding.unit == 0
