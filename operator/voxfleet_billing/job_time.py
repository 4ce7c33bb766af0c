"""Machine time of one job by Mac, and its cost, out of the lines of a bill. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from voxfleet_api.machine_time import MAX_MACS, MacTime
from voxfleet_billing.archive_format import TimeClass
from voxfleet_billing.bill_totals import Total
from voxfleet_billing.charge import Charge, ChargeKind


@dataclass(frozen=True, slots=True)
class JobLines:
    macs: tuple[MacTime, ...]
    """Those that used most first; the Macs beyond MAX_MACS are one entry without a name."""
    costs: tuple[tuple[str, Decimal], ...]
    """By currency: what is billed of the job's own lines, as `voxfleet bill show --by job` has it."""
    unpriced: int
    """Lines with time and without a price."""


def job_lines(charges: Iterable[Charge], uid: str) -> JobLines:
    """`uid`: the job's."""
    totals: defaultdict[str, Total] = defaultdict(Total)
    whole = Total()
    for charge in charges:
        if charge.owner_uid != uid or charge.time_class == TimeClass.FOREIGN:
            continue
        whole.add(charge)
        if charge.kind is ChargeKind.USAGE:
            totals[charge.mac].add(charge)
    return JobLines(_mac_times(totals), tuple(sorted(whole.costs.items())), whole.unpriced)


def _mac_times(totals: dict[str, Total]) -> tuple[MacTime, ...]:
    ordered = sorted(totals, key=lambda mac: (-totals[mac].machine, mac))
    rest = Total()
    for mac in ordered[MAX_MACS:]:
        rest.include(totals[mac])
    named = [_mac_time(mac, totals[mac]) for mac in ordered[:MAX_MACS]]
    return (*named, _mac_time(None, rest)) if rest.rows else tuple(named)


def _mac_time(mac: str | None, total: Total) -> MacTime:
    classes = total.by_class
    return MacTime(
        mac=mac,
        productive_milliseconds=classes.get(TimeClass.PRODUCTIVE, 0),
        retry_milliseconds=classes.get(TimeClass.RETRY, 0) + classes.get(TimeClass.ORPHANED, 0),
        overhead_milliseconds=classes.get(TimeClass.OVERHEAD, 0),
        rows=total.rows,
    )
