"""Machine time of one job by Mac, out of the lines of a bill. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from voxfleet_api.machine_time import MAX_MACS, MacTime
from voxfleet_billing.archive_format import TimeClass
from voxfleet_billing.bill_totals import Total
from voxfleet_billing.charge import Charge, ChargeKind


def job_times(charges: Iterable[Charge], uid: str) -> tuple[MacTime, ...]:
    """`uid`: the job's. Those that used most first; the Macs beyond MAX_MACS are one entry without a name."""
    totals: defaultdict[str, Total] = defaultdict(Total)
    for charge in charges:
        if charge.kind is ChargeKind.USAGE and charge.owner_uid == uid and charge.time_class != TimeClass.FOREIGN:
            totals[charge.mac].add(charge)
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
