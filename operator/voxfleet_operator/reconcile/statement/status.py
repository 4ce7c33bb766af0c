"""A statement's status: totals and cursors, which move together, and what is known of them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from voxfleet_api.conditions import Condition, ConditionType, Reason, condition, truncate
from voxfleet_api.kinds import MachineHourStatement
from voxfleet_api.kinds.machine_hour_statement import (
    MAX_CHAINS,
    ChainCursor,
    MachineHourStatementStatus,
    StatementArchive,
)
from voxfleet_billing.archive_format import TimeClass
from voxfleet_billing.archive_reader import KnownIndex
from voxfleet_operator.metering.recent_use import with_use
from voxfleet_operator.metering.statements import statement_name
from voxfleet_operator.reconcile.statement.decide import SettledRow, SettledRun
from voxfleet_operator.reconcile.statement.estimates import with_estimates
from voxfleet_operator.reconcile.statement.totals import CountedRow, with_rows

MESSAGE_BYTES = 400
NO_ARCHIVE = "the operator has no ledger archive, so this is never final; give it one with --archive"


def takes(statement: MachineHourStatement, chain_id: str, ledger_key: str) -> bool:
    """Whether the statement has a cursor of the chain, or room for one. A chain of another key is another chain."""
    cursors = statement.status.cursors
    own = next((item for item in cursors if item.chain_id == chain_id), None)
    return len(cursors) < MAX_CHAINS if own is None else own.ledger_key == ledger_key


def with_run(
    statement: MachineHourStatement, run: SettledRun, ledger_key: str, now: str, archived: KnownIndex | None = None
) -> MachineHourStatementStatus:
    """Adds a run that begins behind the statement's cursor of the chain, and that was verified by this key.

    `archived`: the index that names its rows.
    """
    status = statement.status
    used: Counter[str] = Counter()
    for item in run.rows:
        if item.time_class is not TimeClass.FOREIGN and item.row.namespace:
            used[item.row.namespace] += item.row.machine_milliseconds
    last = run.rows[-1].row
    cursor = ChainCursor(chain_id=run.chain_id, sequence=last.sequence, hash=last.hash, ledger_key=ledger_key)
    added = with_rows(status, statement.spec.month, map(_counted, run.rows))
    return added.model_copy(
        update={
            "observed_generation": statement.metadata.generation,
            "cursors": (*(item for item in status.cursors if item.chain_id != run.chain_id), cursor),
            "recent_use": with_use(status.recent_use, status.updated_at, used, datetime.fromisoformat(now)),
            "updated_at": now,
            **_archived(statement, archived, now),
        }
    )


def from_archive(
    statement: MachineHourStatement,
    archived: KnownIndex,
    rows: Iterable[CountedRow],
    chain_ids: frozenset[str],
    now: str,
) -> MachineHourStatementStatus:
    """What the archive says of these chains, whatever the statement said before. `rows`: of these chains."""
    cursors = tuple(
        ChainCursor(chain_id=head.chain_id, sequence=head.sequence, hash=head.hash, ledger_key=head.ledger_key)
        for head in archived.index.heads
        if head.chain_id in chain_ids
    )
    status = with_rows(MachineHourStatementStatus(), statement.spec.month, rows)
    if _has_estimates(statement):
        status = with_estimates(status, archived.index)
    return status.model_copy(
        update={
            "observed_generation": statement.metadata.generation,
            "cursors": cursors,
            "recent_use": statement.status.recent_use,
            "updated_at": now,
            **_archived(statement, archived, now),
        }
    )


def with_estimates_of(statement: MachineHourStatement, archived: KnownIndex, now: str) -> MachineHourStatementStatus:
    """For the first statement of a month: what the index says of attempts whose Macs are gone."""
    status = with_estimates(statement.status, archived.index)
    return status.model_copy(
        update={"observed_generation": statement.metadata.generation, **_archived(statement, archived, now)}
    )


def _has_estimates(statement: MachineHourStatement) -> bool:
    """Estimates belong to no chain, so the first part of a month has them all."""
    return statement.metadata.name == statement_name(statement.spec.mac, statement.spec.month)


def with_condition(
    statement: MachineHourStatement, type_: ConditionType, status: bool, reason: Reason, message: str, now: str
) -> MachineHourStatementStatus:
    conditions = _with(statement, statement.status.conditions, type_, status, reason, message, now)
    return statement.status.model_copy(update={"conditions": conditions})


def _archived(statement: MachineHourStatement, archived: KnownIndex | None, now: str) -> dict[str, object]:
    before = statement.status.conditions
    if archived is None:
        return {
            "conditions": _with(statement, before, ConditionType.ARCHIVED, False, Reason.NO_ARCHIVE, NO_ARCHIVE, now)
        }
    return {
        "archive": StatementArchive(
            revision=archived.revision, sha256=archived.sha256, segments=len(archived.index.segments)
        ),
        "conditions": _with(statement, before, ConditionType.ARCHIVED, True, Reason.ARCHIVED, "", now),
    }


def _with(
    statement: MachineHourStatement,
    before: tuple[Condition, ...],
    type_: ConditionType,
    status: bool,
    reason: Reason,
    message: str,
    now: str,
) -> tuple[Condition, ...]:
    made = condition(
        before,
        type_,
        status,
        reason,
        truncate(message, MESSAGE_BYTES),
        generation=statement.metadata.generation,
        now=now,
    )
    return (*(item for item in before if item.type != type_), made)


def _counted(item: SettledRow) -> CountedRow:
    row = item.row
    return CountedRow(
        month=row.month,
        namespace=row.namespace,
        billing_key=row.billing_key if row.content else None,
        time_class=item.time_class,
        milliseconds=row.machine_milliseconds,
        audio_milliseconds=row.audio_milliseconds,
        clips=row.clips if row.content else 0,
        endpoint_uid=row.attempt.shard_uid if row.is_of_endpoint else None,
    )
