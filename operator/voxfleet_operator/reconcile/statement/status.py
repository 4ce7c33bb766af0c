"""A statement's status: totals and cursors, which move together. Pure."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from voxfleet_api.kinds import MachineHourStatement
from voxfleet_api.kinds.machine_hour_statement import MAX_CHAINS, ChainCursor, MachineHourStatementStatus
from voxfleet_api.quantities import hours_text, seconds_milliseconds, seconds_text
from voxfleet_operator.metering.recent_use import with_use
from voxfleet_operator.reconcile.statement.decide import SettledRun, TimeClass

_FIELDS = {
    TimeClass.PRODUCTIVE: "productive_seconds",
    TimeClass.RETRY: "retry_seconds",
    TimeClass.OVERHEAD: "overhead_seconds",
    TimeClass.ORPHANED: "orphaned_seconds",
}


def takes(statement: MachineHourStatement, run: SettledRun, ledger_key: str) -> bool:
    """Whether the statement has a cursor of the chain, or room for one. A chain of another key is another chain."""
    cursors = statement.status.cursors
    own = next((item for item in cursors if item.chain_id == run.chain_id), None)
    return len(cursors) < MAX_CHAINS if own is None else own.ledger_key == ledger_key


def with_run(statement: MachineHourStatement, run: SettledRun, ledger_key: str, now: str) -> MachineHourStatementStatus:
    """Adds a run that begins behind the statement's cursor of the chain, and that was verified by this key."""
    status = statement.status
    sums = {field: seconds_milliseconds(getattr(status, field)) for field in (*_FIELDS.values(), "audio_seconds")}
    counted = [item for item in run.rows if item.time_class is not TimeClass.FOREIGN]
    for item in counted:
        sums[_FIELDS[item.time_class]] += item.row.machine_milliseconds
        sums["audio_seconds"] += item.row.audio_milliseconds
    used: Counter[str] = Counter()
    for item in (item for item in counted if item.row.namespace):
        used[item.row.namespace] += item.row.machine_milliseconds
    machine = sum(sums[field] for field in _FIELDS.values())
    last = run.rows[-1].row
    cursor = ChainCursor(chain_id=run.chain_id, sequence=last.sequence, hash=last.hash, ledger_key=ledger_key)
    return status.model_copy(
        update={
            "observed_generation": statement.metadata.generation,
            "cursors": (*(item for item in status.cursors if item.chain_id != run.chain_id), cursor),
            "machine_hours": hours_text(machine),
            "machine_seconds": seconds_text(machine),
            **{field: seconds_text(milliseconds) for field, milliseconds in sums.items()},
            "rows": status.rows + len(counted),
            "recent_use": with_use(status.recent_use, status.updated_at, used, datetime.fromisoformat(now)),
            "updated_at": now,
        }
    )
