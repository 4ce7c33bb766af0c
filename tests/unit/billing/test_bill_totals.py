"""What a month comes to, by each dimension."""

from __future__ import annotations

from decimal import Decimal

import pytest

from voxfleet_api.kinds import MachineHourStatement
from voxfleet_billing.bill_totals import NOBODY, By, bill_totals, statement_totals
from voxfleet_billing.charge import Charge, ChargeKind, Money

HOUR = 3_600_000


def money(cost: str, currency: str = "EUR") -> Money:
    amount = Decimal(cost)
    return Money(currency, amount, amount, amount, amount, amount, amount)


def usage(mac: str = "mac-01", start: str = "22:00", end: str = "23:00", **fields: object) -> Charge:
    told: dict[str, object] = {
        "kind": ChargeKind.USAGE,
        "correction": False,
        "mac": mac,
        "hardware_id": mac,
        "start": f"2026-11-20T{start}:00.000Z",
        "end": f"2026-11-20T{end}:00.000Z",
        "milliseconds": HOUR,
        "time_class": "Productive",
        "price_class": "Offline",
        "lane": "offline/0",
        "namespace": "speech",
        "owner_name": "nightly",
        "billing_key": "team-speech",
        "team": "speech",
        "money": money("1.80"),
    }
    return Charge(**(told | fields))  # type: ignore[arg-type] # names of its fields


LINES = [
    usage(),
    usage(lane="offline/1", start="22:30", end="23:30", time_class="Retry"),
    usage(kind=ChargeKind.IDLE, time_class="Idle", milliseconds=5 * HOUR, namespace="", lane="", money=money("0.50")),
    usage("mac-02", namespace="calls", money=money("2.00", "USD")),
    usage("mac-02", start="23:00", end="23:30", time_class="Foreign", money=None),
    usage("mac-02", kind=ChargeKind.ESTIMATED, milliseconds=7, money=None),
]


def test_hours_of_lanes_and_of_macs_are_told_apart() -> None:
    totals = bill_totals(LINES, By.MAC)
    first, second = totals.groups["mac-01"], totals.groups["mac-02"]
    assert (first.machine, first.mac_wall, first.idle) == (2 * HOUR, 3 * HOUR // 2, 5 * HOUR)
    assert (second.machine, second.rows, second.estimated) == (HOUR, 1, 7)
    assert first.costs == {"EUR": Decimal("4.10")} and second.costs == {"USD": Decimal("2.00")}
    assert totals.whole.costs == {"EUR": Decimal("4.10"), "USD": Decimal("2.00")}
    assert totals.whole.machine == 3 * HOUR and totals.whole.mac_wall == 5 * HOUR // 2


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        (By.NAMESPACE, {NOBODY, "speech", "calls"}),
        (By.TEAM, {"speech"}),
        (By.BILLING_KEY, {"team-speech"}),
        (By.LANE, {NOBODY, "mac-01/offline/0", "mac-01/offline/1", "mac-02/offline/0"}),
        (By.CLASS, {"Productive", "Retry", "Idle"}),
        (By.JOB, {"speech/nightly", "/nightly", "calls/nightly"}),
    ],
)
def test_every_dimension_has_the_same_sum(by: By, groups: set[str]) -> None:
    totals = bill_totals(LINES, by)
    assert set(totals.groups) == groups
    assert sum(total.machine for total in totals.groups.values()) == totals.whole.machine == 3 * HOUR
    assert sum(total.costs.get("EUR", Decimal(0)) for total in totals.groups.values()) == Decimal("4.10")


def test_statements_alone_say_what_they_know() -> None:
    def statement(mac: str, month: str, **status: object) -> MachineHourStatement:
        return MachineHourStatement.load(
            {"metadata": {"name": f"{mac}-{month}"}, "spec": {"mac": mac, "month": month}, "status": status}
        )

    told = [
        statement("mac-01", "2026-11", productiveSeconds="3600.000", retrySeconds="1.001", rows=7),
        statement("mac-01", "2026-11", overheadSeconds="2.000", rows=1),
        statement("mac-02", "2026-11", productiveSeconds="1.000", audioSeconds="5.000", rows=1),
        statement("mac-02", "2026-10", productiveSeconds="9.000", rows=1),
        statement("mac-03", "2026-11", estimatedSeconds="70.000"),
    ]
    by_mac = statement_totals(told, "2026-11", By.MAC)
    assert {name: total.machine for name, total in by_mac.groups.items()} == {
        "mac-01": 3_603_001,
        "mac-02": 1_000,
        "mac-03": 0,
    }
    assert by_mac.groups["mac-03"].estimated == by_mac.whole.estimated == 70_000
    assert by_mac.groups["mac-01"].rows == 8 and by_mac.whole.rows == 9 and by_mac.whole.audio == 5_000
    by_class = statement_totals(told, "2026-11", By.CLASS)
    assert {name: total.machine for name, total in by_class.groups.items()} == {
        "Productive": 3_601_000,
        "Retry": 1_001,
        "Overhead": 2_000,
    }
    with pytest.raises(ValueError, match="team"):
        statement_totals(told, "2026-11", By.TEAM)
