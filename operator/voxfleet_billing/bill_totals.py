"""Machine-hours, Mac-hours and cost of a month's lines, by one dimension. Pure; memory is that of the groups.

Machine-hours are lane time. Mac-hours are wall time in which at least one lane of the group was held on a Mac, as a
lessor sees it. Time of another control plane is counted there, and left out here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from itertools import groupby
from operator import attrgetter

from voxfleet_api.kinds import MachineHourStatement
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_billing.archive_format import TimeClass
from voxfleet_billing.charge import Charge, ChargeKind
from voxfleet_billing.instants import milliseconds_of
from voxfleet_billing.money import EXACT, ZERO

NOBODY = "-"
"""The group of lines that belong to none: fees of a lessor, idle Macs by namespace."""


class By(StrEnum):
    MAC = "mac"
    NAMESPACE = "namespace"
    TEAM = "team"
    BILLING_KEY = "billing-key"
    LANE = "lane"
    CLASS = "class"
    JOB = "job"


_GROUPS: Mapping[By, Callable[[Charge], str]] = {
    By.MAC: attrgetter("mac"),
    By.NAMESPACE: attrgetter("namespace"),
    By.TEAM: attrgetter("team"),
    By.BILLING_KEY: attrgetter("billing_key"),
    By.LANE: lambda charge: f"{charge.mac}/{charge.lane}" if charge.lane else "",
    By.CLASS: lambda charge: charge.time_class or charge.kind.value,
    By.JOB: lambda charge: f"{charge.namespace}/{charge.owner_name}" if charge.owner_name else "",
}


@dataclass(slots=True)
class Total:
    """Times in milliseconds."""

    machine: int = 0
    by_class: dict[str, int] = field(default_factory=dict)
    mac_wall: int = 0
    idle: int = 0
    estimated: int = 0
    corrections: int = 0
    """Of the machine time, what belongs to an earlier month that was closed."""
    audio: int = 0
    clips: int = 0
    rows: int = 0
    unpriced: int = 0
    """Lines with time and without a price."""
    costs: dict[str, Decimal] = field(default_factory=dict)
    """What is billed, by currency."""

    def add(self, charge: Charge) -> None:
        match charge.kind:
            case ChargeKind.USAGE:
                self.machine += charge.milliseconds
                self.by_class[charge.time_class] = self.by_class.get(charge.time_class, 0) + charge.milliseconds
                self.corrections += charge.milliseconds if charge.correction else 0
                self.audio += charge.audio_milliseconds
                self.clips += charge.clips
                self.rows += 1
            case ChargeKind.IDLE:
                self.idle += charge.milliseconds
            case ChargeKind.ESTIMATED:
                self.estimated += charge.milliseconds
        if charge.money is not None:
            before = self.costs.get(charge.money.currency, ZERO)
            self.costs[charge.money.currency] = EXACT.add(before, charge.money.billed_cost)
        elif charge.kind in (ChargeKind.USAGE, ChargeKind.IDLE):
            self.unpriced += 1

    def include(self, other: Total) -> None:
        """Adds all but the Mac-hours, which do not add up between groups."""
        for name in ("machine", "idle", "estimated", "corrections", "audio", "clips", "rows", "unpriced"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for time_class, milliseconds in other.by_class.items():
            self.by_class[time_class] = self.by_class.get(time_class, 0) + milliseconds
        for currency, cost in other.costs.items():
            self.costs[currency] = EXACT.add(self.costs.get(currency, ZERO), cost)


@dataclass(frozen=True, slots=True)
class BillTotals:
    groups: dict[str, Total]
    whole: Total


def bill_totals(charges: Iterable[Charge], by: By) -> BillTotals:
    """`charges`: a Mac's lines stand together, as `charges` yields them. Groups are sorted by name."""
    group_of = _GROUPS[by]
    groups: defaultdict[str, Total] = defaultdict(Total)
    whole = Total()
    for _, of_mac in groupby(charges, key=attrgetter("mac")):
        held: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for charge in of_mac:
            if charge.time_class == TimeClass.FOREIGN:
                continue
            name = group_of(charge) or NOBODY
            groups[name].add(charge)
            if charge.kind is ChargeKind.USAGE:
                held[name].append((milliseconds_of(charge.start), milliseconds_of(charge.end)))
        for name, intervals in held.items():
            groups[name].mac_wall += _union(intervals)
        whole.mac_wall += _union([interval for intervals in held.values() for interval in intervals])
    for total in groups.values():
        whole.include(total)
    return BillTotals(dict(sorted(groups.items())), whole)


def _union(intervals: list[tuple[int, int]]) -> int:
    covered, reached = 0, 0
    for start, end in sorted(intervals):
        covered += max(0, end - max(start, reached))
        reached = max(reached, end)
    return covered


def statement_totals(statements: Iterable[MachineHourStatement], month: str, by: By) -> BillTotals:
    """What statements alone say, by Mac or by class. Raises ValueError for another dimension."""
    groups: defaultdict[str, Total] = defaultdict(Total)
    whole = Total()
    for statement in statements:
        if statement.spec.month != month:
            continue
        for time_class, text in _classes_of(statement).items():
            milliseconds = seconds_milliseconds(text)
            part = Total(machine=milliseconds, by_class={time_class: milliseconds})
            groups[_statement_group(statement, time_class, by)].include(part)
            whole.include(part)
        rest = Total(
            audio=seconds_milliseconds(statement.status.audio_seconds),
            rows=statement.status.rows,
            estimated=seconds_milliseconds(statement.status.estimated_seconds),
        )
        whole.include(rest)
        if by is By.MAC:
            groups[statement.spec.mac].include(rest)
    used = {name: total for name, total in groups.items() if total.machine or total.rows or total.estimated}
    return BillTotals(dict(sorted(used.items())), whole)


def _classes_of(statement: MachineHourStatement) -> dict[str, str]:
    status = statement.status
    return {
        TimeClass.PRODUCTIVE: status.productive_seconds,
        TimeClass.RETRY: status.retry_seconds,
        TimeClass.OVERHEAD: status.overhead_seconds,
        TimeClass.ORPHANED: status.orphaned_seconds,
    }


def _statement_group(statement: MachineHourStatement, time_class: str, by: By) -> str:
    match by:
        case By.MAC:
            return statement.spec.mac
        case By.CLASS:
            return time_class
        case _:
            raise ValueError(f"statements are not summed up by {by}")
