"""Explains a MachineHourStatement."""

from __future__ import annotations

from voxfleet_api.kinds import MachineHourStatement
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
        "rows": status.rows,
        "settled": [f"chain {cursor.chain_id} up to row {cursor.sequence}" for cursor in status.cursors],
    }


EXPLAINER = Explainer(
    kind=MachineHourStatement,
    state=lambda statement: "Counting" if statement.status.rows else UNSEEN_STATE,
    next=lambda _: "nothing: settled rows are added every hour",
    details=_details,
)
