"""Explains a MachineHourStatement."""

from __future__ import annotations

from voxfleet_api.conditions import ConditionType, find, is_true
from voxfleet_api.kinds import MachineHourStatement
from voxfleet_api.kinds.machine_hour_statement import StatementCorrection
from voxfleet_cli.explainers.explanation import UNSEEN_STATE, Explainer, Plain, Related


def _details(statement: MachineHourStatement, _: Related) -> Plain:
    status = statement.status
    return {
        "mac": statement.spec.mac,
        "month": statement.spec.month,
        "machineSeconds": status.machine_seconds,
        "productiveSeconds": status.productive_seconds,
        "retrySeconds": status.retry_seconds,
        "overheadSeconds": status.overhead_seconds,
        "orphanedSeconds": status.orphaned_seconds,
        "estimatedSeconds": status.estimated_seconds,
        "rows": status.rows,
        "archive": [
            f"{item.type} is {item.status}: {item.reason}{': ' if item.message else ''}{item.message}"
            for item in status.conditions
        ],
        "corrections": [_correction(item) for item in status.corrections],
        "bill": f"voxfleet bill show --period {statement.spec.month} --by job; one line: voxfleet bill dispute ROW",
        "settled": [f"chain {cursor.chain_id} up to row {cursor.sequence}" for cursor in status.cursors],
    }


def _correction(item: StatementCorrection) -> str:
    replaced = "" if item.estimated_seconds is None else f", for {item.estimated_seconds} s that were estimated"
    return f"{item.machine_seconds} s of {item.month} in {item.rows} rows{replaced}"


def _state(statement: MachineHourStatement) -> str:
    if is_true(statement.status.conditions, ConditionType.FINAL):
        return "Final"
    return "Counting" if statement.status.rows else UNSEEN_STATE


def _next(statement: MachineHourStatement) -> str:
    conditions = statement.status.conditions
    if is_true(conditions, ConditionType.FINAL):
        return "nothing: late rows are corrections of the month in which they come"
    for type_ in (ConditionType.ARCHIVED, ConditionType.FINAL):
        found = find(conditions, type_)
        if found is not None and found.status != "True" and found.message:
            return found.message
    return "nothing: settled rows are added every hour"


EXPLAINER = Explainer(
    kind=MachineHourStatement,
    state=_state,
    next=_next,
    details=_details,
)
