"""When a statement is final: the month is over, and no row of it is to come. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from voxfleet_api.conditions import ConditionType, Reason, find, is_true
from voxfleet_api.kinds import MacAgent, MachineHourStatement
from voxfleet_api.moments import timestamp
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.fleet.verified_row import NO_MONTH
from voxfleet_operator.reconcile.statement.decide import CursorOf

GRACE = timedelta(hours=48)
"""From the end of the month: attempts that ran across it end, and a Mac that was away comes back."""
SILENCE = timedelta(days=14)
"""A Mac that was out of contact for so long after the month's end is not waited for. What it brings later is a
correction."""
LOOK_AGAIN_SECONDS = 600.0
LONGEST_WAIT_SECONDS = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Finality:
    reason: Reason
    message: str = ""
    again_seconds: float | None = None

    @property
    def is_final(self) -> bool:
        return self.reason is Reason.FINAL


def is_final(statement: MachineHourStatement) -> bool:
    return is_true(statement.status.conditions, ConditionType.FINAL)


def month_end(month: str) -> datetime:
    year, number = int(month[:4]), int(month[5:])
    return datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)


def finality(month: str, mac: MacAgent | None, view: MacView, cursor_of: CursorOf, now: datetime) -> Finality:
    """`mac`: None once the MacAgent is gone: nobody reads its rows any more."""
    if month == NO_MONTH:
        return Finality(Reason.MONTH_OPEN, "rows of broken clocks, which belong to no month")
    end = month_end(month)
    left = (end + GRACE - now).total_seconds()
    if left > 0:
        return Finality(
            Reason.MONTH_OPEN,
            f"not before {timestamp(end + GRACE)}, 48 hours after the month",
            min(left, LONGEST_WAIT_SECONDS),
        )
    waiting = [row for row in view.rows if row.month == month and row.sequence > cursor_of(row.chain_id)]
    if waiting:
        message = (
            f"{len(waiting)} rows of the month are not settled yet, from {waiting[0].chain_id}#{waiting[0].sequence}"
        )
        return Finality(Reason.ROWS_EXPECTED, message, LOOK_AGAIN_SECONDS)
    if mac is None:
        return Finality(Reason.FINAL)
    if view.ledger_error is not None:
        return Finality(Reason.ROWS_EXPECTED, f"a row does not verify: {view.ledger_error}", LOOK_AGAIN_SECONDS)
    if view.connected and view.machine is not None and _has_all_rows(view, cursor_of):
        return Finality(Reason.FINAL)
    reachable = find(mac.status.conditions, ConditionType.REACHABLE)
    silent_since = end
    if reachable is not None and reachable.status != "True":
        silent_since = max(end, datetime.fromisoformat(reachable.last_transition_time))
    if not view.connected and now - silent_since >= SILENCE:
        return Finality(Reason.FINAL)
    message = (
        f"{mac.metadata.name} may have more rows; it is waited for until {timestamp(silent_since + SILENCE)} at most"
    )
    return Finality(Reason.ROWS_EXPECTED, message, LOOK_AGAIN_SECONDS)


def _has_all_rows(view: MacView, cursor_of: CursorOf) -> bool:
    """Whether all rows were read that the agent had when it last told. What it signs since then is of this month."""
    machine = view.machine
    if machine is None:
        return False
    chain_id = machine.ledger_chain_id
    read = max((row.sequence for row in view.rows if row.chain_id == chain_id), default=-1)
    return max(read, cursor_of(chain_id)) >= machine.ledger_sequence
