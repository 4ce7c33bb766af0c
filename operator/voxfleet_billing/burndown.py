"""A month's budget against the machine-hours of its nights. Pure.

There is no published schema of such reports. The columns are what the usage reports of GPU clusters have in common
(Slurm's `sreport` and the sites' `sbalance`: limit, used, available), by day and cumulated, with the two lines that a
burndown chart draws: what should remain (ideal, linear) and what will (forecast, at the pace so far).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal

from voxfleet_billing.nights import UTC_DAYS, NightClock

COLUMNS = (
    "date",
    "budget_hours",
    "used_hours",
    "cumulative_used_hours",
    "remaining_hours",
    "ideal_remaining_hours",
    "forecast_remaining_hours",
    "used_percent",
)
_MILLISECONDS_PER_HOUR = 3_600_000


@dataclass(frozen=True, slots=True)
class BurndownNight:
    """One night. All times are in milliseconds of lane time; what remains is negative once the budget is exceeded."""

    night: date
    budget: int
    used: int | None
    """None: the night is still to come."""
    cumulative: int
    remaining: int
    ideal_remaining: int
    forecast_remaining: int

    def cells(self) -> tuple[str, ...]:
        """In the order of COLUMNS."""
        percent = 0 if not self.budget else Decimal(100 * self.cumulative) / self.budget
        return (
            self.night.isoformat(),
            hours(self.budget),
            "" if self.used is None else hours(self.used),
            "" if self.used is None else hours(self.cumulative),
            "" if self.used is None else hours(self.remaining),
            hours(self.ideal_remaining),
            hours(self.forecast_remaining),
            "" if self.used is None else f"{Decimal(percent).quantize(Decimal('0.1'), ROUND_HALF_EVEN):f}",
        )


def burndown(
    month: Sequence[date], used_by_night: Mapping[date, int], budget: int, now: datetime, clock: NightClock = UTC_DAYS
) -> Iterator[BurndownNight]:
    """`month`: its nights. `budget`, and what was used: milliseconds. Nights after that of `now` are still to come."""
    tonight = clock.night_of(now.astimezone(UTC))
    passed = sum(night <= tonight for night in month)
    total = sum(used_by_night.get(night, 0) for night in month[:passed])
    cumulative = 0
    for number, night in enumerate(month, start=1):
        over = number <= passed
        used = used_by_night.get(night, 0) if over else None
        cumulative += used or 0
        pace = cumulative if over else total * number // max(1, passed)
        yield BurndownNight(
            night=night,
            budget=budget,
            used=used,
            cumulative=cumulative,
            remaining=budget - cumulative,
            ideal_remaining=budget - budget * number // len(month),
            forecast_remaining=budget - pace,
        )


def hours(milliseconds: int) -> str:
    """With four decimals, as everywhere; negative where a budget is exceeded."""
    exact = Decimal(milliseconds) / _MILLISECONDS_PER_HOUR
    return f"{exact.quantize(Decimal('0.0001'), ROUND_HALF_EVEN):f}"
