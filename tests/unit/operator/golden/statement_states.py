"""What a MachineHourStatement can be, as the operator writes it."""

from __future__ import annotations

from tests.unit.operator.decisions.job_objects import NOW

from voxfleet_api.conditions import ConditionType, Reason
from voxfleet_api.kinds import MachineHourStatement
from voxfleet_operator.reconcile.statement.status import NO_ARCHIVE, with_condition


def statement_states() -> dict[str, MachineHourStatement]:
    unseen = MachineHourStatement.load(
        {"metadata": {"name": "mac-a-2026-11"}, "spec": {"mac": "mac-a", "month": "2026-11"}}
    )
    counting = _seen(unseen)
    archived = _with(counting, ConditionType.ARCHIVED, True, Reason.ARCHIVED)
    return {
        "nobody has seen it": unseen,
        "it counts rows": counting,
        "it counts rows that are archived": archived,
        "there is no archive": _with(counting, ConditionType.ARCHIVED, False, Reason.NO_ARCHIVE, NO_ARCHIVE),
        "the archive does not answer": _with(archived, ConditionType.ARCHIVED, False, Reason.ARCHIVE_UNAVAILABLE),
        "its month is open": _with(archived, ConditionType.FINAL, False, Reason.MONTH_OPEN),
        "rows are still expected": _with(archived, ConditionType.FINAL, False, Reason.ROWS_EXPECTED),
        "it is final": _with(archived, ConditionType.FINAL, True, Reason.FINAL),
    }


def _seen(statement: MachineHourStatement) -> MachineHourStatement:
    return statement.model_copy(update={"status": statement.status.model_copy(update={"observed_generation": 0})})


def _with(
    statement: MachineHourStatement, type_: ConditionType, status: bool, reason: Reason, message: str = ""
) -> MachineHourStatement:
    return statement.model_copy(update={"status": with_condition(statement, type_, status, reason, message, NOW)})
