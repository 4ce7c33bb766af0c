"""What a restarted agent does before it answers anybody."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace

from voxfleet_agent.attempts.event_feed import append_status
from voxfleet_agent.attempts.state_machine import Action, AttemptEvent, transition
from voxfleet_agent.journal import attempt_table, lane_holds
from voxfleet_agent.journal.attempt_table import JournaledAttempt
from voxfleet_agent.journal.journal import Journal
from voxfleet_agent.ledger import Ledger
from voxfleet_agent.scratch import Scratch


@dataclass(frozen=True, slots=True)
class Recovered:
    records: list[JournaledAttempt]
    sealed_rows: int
    swept_entries: int


async def recover(journal: Journal, ledger: Ledger, scratch: Scratch) -> Recovered:
    """Sweeps scratch, seals time up to the last tick, parks what ran, ends what was finishing or being deleted.

    Nothing of the process before may run any more: its lanes' children have been reaped. May be killed and
    repeated at any point: the sweep is idempotent, the rest is one transaction.
    """
    swept = await scratch.sweep(owned=())

    def work(db: sqlite3.Connection) -> tuple[list[JournaledAttempt], int]:
        records = {record.key: record for record in attempt_table.load_all(db)}
        left = lane_holds.load_all(db)
        sealed = [ledger.seal(db, hold, records[hold.key]) for hold in left]
        kept = [_settle(db, ledger, record) for record in records.values()]
        return [record for record in kept if record is not None], len(sealed)

    records, sealed = await journal.write(work)
    return Recovered(records, sealed, swept)


def _settle(db: sqlite3.Connection, ledger: Ledger, record: JournaledAttempt) -> JournaledAttempt | None:
    """The attempt's state after a restart; None when it is gone."""
    step = transition(record.state, AttemptEvent.RESTARTED)
    if Action.FORGET in step.actions:
        attempt_table.delete(db, record.key)
        return None
    state = step.state
    if Action.FINISH in step.actions:
        event = AttemptEvent.CLEANED_FAILURE if record.failure is not None else AttemptEvent.CLEANED_SUCCESS
        state = transition(state, event).state
        attempt_table.delete_stage_data(db, record.key)
    if state is record.state:
        return record
    settled = replace(record, state=state, lane=None)
    attempt_table.save(db, settled)
    append_status(db, ledger.chain_id, settled)
    return settled
