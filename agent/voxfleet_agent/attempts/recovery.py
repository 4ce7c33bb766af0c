"""Recovers the state of a restarted agent, before it answers any request."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from voxfleet_agent.attempts.event_feed import append_status
from voxfleet_agent.attempts.metered_span import MeteredSpan, split_at_months
from voxfleet_agent.attempts.state_machine import Action, AttemptEvent, transition
from voxfleet_agent.clock import timestamp
from voxfleet_agent.journal import attempt_table, lane_holds
from voxfleet_agent.journal.attempt_table import JournaledAttempt
from voxfleet_agent.journal.journal import Journal
from voxfleet_agent.journal.lane_holds import LaneHold
from voxfleet_agent.ledger import Ledger
from voxfleet_agent.scratch import Scratch
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.ledger import SignedRow


@dataclass(frozen=True, slots=True)
class Recovered:
    records: list[JournaledAttempt]
    sealed_rows: int
    swept_entries: int


async def recover(journal: Journal, ledger: Ledger, scratch: Scratch) -> Recovered:
    """Sweeps scratch, seals lane time up to the last tick, parks running attempts, and ends those being finished or
    deleted.

    The children of the previous process must have been reaped before. Recovery may be killed and repeated at any
    point: the sweep is idempotent, and the rest is one transaction.
    """
    swept = await scratch.sweep(owned=())

    def work(db: sqlite3.Connection) -> tuple[list[JournaledAttempt], int]:
        records = {record.key: record for record in attempt_table.load_all(db)}
        sealed = seal_left_holds(db, ledger, records)
        settled = [_recover_attempt(db, ledger, record) for record in records.values()]
        return [record for record in settled if record is not None], len(sealed)

    records, sealed = await journal.write(work)
    return Recovered(records, sealed, swept)


def seal_left_holds(
    db: sqlite3.Connection, ledger: Ledger, attempts: Mapping[AttemptKey, JournaledAttempt]
) -> list[SignedRow]:
    """Signs what lanes were held for up to the last tick before the process died."""
    return [
        row
        for hold in lane_holds.load_all(db)
        for row in ledger.seal(db, _by_month(hold), hold.holder or attempts[hold.key])
    ]


def _by_month(hold: LaneHold) -> list[LaneHold]:
    """An older agent's hold may have more than one month; it is read as a Mac that slept late in it."""
    start = datetime.fromisoformat(hold.wall_start)
    end = max(datetime.fromisoformat(hold.wall_end), start + timedelta(milliseconds=hold.milliseconds))
    first, *others = split_at_months(MeteredSpan(start, end, hold.milliseconds))
    return [
        replace(hold, wall_end=timestamp(first.wall_end), milliseconds=first.milliseconds),
        *(
            replace(
                hold,
                wall_start=timestamp(other.wall_start),
                wall_end=timestamp(other.wall_end),
                milliseconds=other.milliseconds,
                audio_milliseconds=0,
                clips=0,
            )
            for other in others
        ),
    ]


def _recover_attempt(db: sqlite3.Connection, ledger: Ledger, record: JournaledAttempt) -> JournaledAttempt | None:
    """Returns the attempt as it is after a restart; None when it is deleted."""
    change = transition(record.state, AttemptEvent.RESTARTED)
    if Action.FORGET in change.actions:
        attempt_table.delete(db, record.key)
        return None
    state = change.state
    if Action.FINISH in change.actions:
        event = AttemptEvent.CLEANED_FAILURE if record.failure is not None else AttemptEvent.CLEANED_SUCCESS
        state = transition(state, event).state
        attempt_table.delete_stage_data(db, record.key)
    if state is record.state:
        return record
    recovered = replace(record, state=state, lane=None)
    attempt_table.save(db, recovered)
    append_status(db, ledger.chain_id, recovered)
    return recovered
