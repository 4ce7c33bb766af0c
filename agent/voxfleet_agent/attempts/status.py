"""An attempt as the protocol shows it."""

from __future__ import annotations

import sqlite3

from voxfleet_agent.journal import event_table
from voxfleet_agent.journal.attempt_table import JournaledAttempt
from voxfleet_agent.ledger import span
from voxfleet_api.protocol import AttemptStatus, EventType


def status_of(db: sqlite3.Connection, chain_id: str, record: JournaledAttempt) -> AttemptStatus:
    return AttemptStatus(
        shard_uid=record.key.shard_uid,
        attempt=record.key.attempt,
        spec_digest=record.spec_digest,
        control_plane=record.control_plane,
        namespace=record.spec.namespace,
        job=record.spec.job,
        shard_name=record.spec.shard_name,
        stage=record.spec.stage,
        state=record.state,
        lane=record.lane,
        failure=record.failure,
        progress=record.progress,
        result=record.result,
        ledger=span(db, chain_id, record.key),
        scratch_high_water_bytes=record.scratch_high_water_bytes,
        scratch_residue_bytes=record.scratch_residue_bytes,
    )


def append_status(db: sqlite3.Connection, chain_id: str, record: JournaledAttempt) -> None:
    """Appends the event of a state change, in the transaction that makes it."""
    event_table.append(db, EventType.ATTEMPT, status_of(db, chain_id, record))
