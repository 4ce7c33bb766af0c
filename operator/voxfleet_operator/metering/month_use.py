"""What each payer has used of the Macs in a month, by what is stored: statements count up to their cursors, shards list
the attempts behind those, and lanes that are held count since they were given. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from voxfleet_api.kinds import MachineHourStatement
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_billing.budget_use import Payer, month_of, month_start


@dataclass(frozen=True, slots=True)
class JobUse:
    """What a job has used and no statement counts yet."""

    payer: Payer
    uncounted_milliseconds: int = 0
    """Of attempts that have ended: their verified rows."""
    uncounted_attempts: int = 0
    lanes_since: tuple[str, ...] = ()
    """When each lane was given that it holds now."""


def counted_milliseconds(statements: Iterable[MachineHourStatement], month: str) -> Mapping[Payer, int]:
    """What statements count of the month."""
    found: Counter[Payer] = Counter()
    for statement in statements:
        if statement.spec.month == month:
            for total in statement.status.totals:
                payer = Payer(total.namespace, total.billing_key or "")
                found[payer] += seconds_milliseconds(total.machine_seconds)
    return found


def month_use(counted: Mapping[Payer, int], jobs: Iterable[JobUse], now: datetime) -> Mapping[Payer, int]:
    """Milliseconds by payer in the month of `now`. It may be too much for an hour. It lacks what statements have no
    entry for, and jobs that were deleted until statements count them.

    Rows that no statement counts yet are not known by month: none of them has more of this month than it is old.
    """
    start = month_start(month_of(now))
    age_milliseconds = _milliseconds(start, now)
    used: Counter[Payer] = Counter(counted)
    for job in jobs:
        used[job.payer] += min(job.uncounted_milliseconds, job.uncounted_attempts * age_milliseconds)
        for since in job.lanes_since:
            used[job.payer] += _milliseconds(max(start, datetime.fromisoformat(since)), now)
    return used


def _milliseconds(start: datetime, end: datetime) -> int:
    return max(0, int((end - start).total_seconds() * 1000))
