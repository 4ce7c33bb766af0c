"""The tables of attempts and tombstones."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from voxfleet_api.attempt_spec import AttemptKey, AttemptSpec
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.ledger import RowOwner
from voxfleet_api.protocol import AttemptFailure, AttemptState, ShardProgress, ShardResult


@dataclass(frozen=True, slots=True)
class JournaledAttempt:
    """An attempt as the journal stores it, without its credentials."""

    key: AttemptKey
    spec_digest: str
    control_plane: str
    spec: AttemptSpec
    state: AttemptState
    lane: str | None = None
    failure: AttemptFailure | None = None
    result: ShardResult | None = None
    progress: ShardProgress = field(default_factory=ShardProgress)
    scratch_high_water_bytes: int = 0
    scratch_residue_bytes: int = 0

    @property
    def owner(self) -> RowOwner:
        """For whom it holds its lane."""
        job = self.spec.job
        return RowOwner(kind=AudioBatchJob.crd.kind, namespace=self.spec.namespace, name=job.name, uid=job.uid)

    @property
    def billing_key(self) -> str | None:
        return self.spec.billing_key


def save(db: sqlite3.Connection, record: JournaledAttempt) -> None:
    db.execute(
        "INSERT OR REPLACE INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *record.key,
            record.spec_digest,
            record.control_plane,
            json.dumps(record.spec.dump()),
            record.state.value,
            record.lane,
            None if record.failure is None else json.dumps(record.failure.dump()),
            None if record.result is None else json.dumps(record.result.dump()),
            record.progress.done,
            record.progress.total,
            record.scratch_high_water_bytes,
            record.scratch_residue_bytes,
        ),
    )


def load_all(db: sqlite3.Connection) -> list[JournaledAttempt]:
    return [_record(row) for row in db.execute("SELECT * FROM attempts ORDER BY shard_uid, attempt")]


def load_after(db: sqlite3.Connection, key: AttemptKey | None) -> Iterator[JournaledAttempt]:
    """Yields the attempts that follow this key, in the order of their keys; None: from the first one."""
    after = key or AttemptKey("", 0)
    rows = db.execute("SELECT * FROM attempts WHERE (shard_uid, attempt) > (?, ?) ORDER BY shard_uid, attempt", after)
    return map(_record, rows)


def load(db: sqlite3.Connection, keys: Iterable[AttemptKey]) -> list[JournaledAttempt]:
    """Loads the attempts with these keys, as far as they are in the journal."""
    rows = [db.execute("SELECT * FROM attempts WHERE shard_uid = ? AND attempt = ?", key).fetchone() for key in keys]
    return [_record(row) for row in rows if row is not None]


def delete(db: sqlite3.Connection, key: AttemptKey) -> None:
    """Deletes the attempt and its stage data. Its sealed rows stay in the ledger."""
    delete_stage_data(db, key)
    db.execute("DELETE FROM attempts WHERE shard_uid = ? AND attempt = ?", key)


def delete_stage_data(db: sqlite3.Connection, key: AttemptKey) -> None:
    """Deletes what only a running stage needs: by now the output has it all, or never will."""
    db.execute("DELETE FROM bases WHERE shard_uid = ? AND attempt = ?", key)
    db.execute("DELETE FROM clip_rows WHERE shard_uid = ? AND attempt = ?", key)
    db.execute("DELETE FROM parts WHERE shard_uid = ? AND attempt = ?", key)


def add_tombstone(db: sqlite3.Connection, key: AttemptKey, now_seconds: int) -> None:
    """Records that no attempt of this shard up to this number may start again."""
    db.execute(
        "INSERT INTO tombstones VALUES (?, ?, ?) ON CONFLICT (shard_uid) DO UPDATE SET"
        " attempt = max(attempt, excluded.attempt), created_at_seconds = excluded.created_at_seconds",
        (*key, now_seconds),
    )


def tombstones(db: sqlite3.Connection) -> dict[str, int]:
    return dict(db.execute("SELECT shard_uid, attempt FROM tombstones"))


def drop_tombstones(db: sqlite3.Connection, before_seconds: int) -> None:
    db.execute("DELETE FROM tombstones WHERE created_at_seconds < ?", (before_seconds,))


def _record(row: tuple[str | int | None, ...]) -> JournaledAttempt:
    shard_uid, attempt, digest, control_plane, spec, state, lane, failure, result, done, total, high, residue = row
    return JournaledAttempt(
        key=AttemptKey(str(shard_uid), _integer(attempt)),
        spec_digest=str(digest),
        control_plane=str(control_plane),
        spec=AttemptSpec.load(json.loads(str(spec))),
        state=AttemptState(str(state)),
        lane=None if lane is None else str(lane),
        failure=None if failure is None else AttemptFailure.load(json.loads(str(failure))),
        result=None if result is None else ShardResult.load(json.loads(str(result))),
        progress=ShardProgress(done=_integer(done), total=_integer(total)),
        scratch_high_water_bytes=_integer(high),
        scratch_residue_bytes=_integer(residue),
    )


def _integer(value: str | int | None) -> int:
    if not isinstance(value, int):
        raise TypeError(f"journal: {value!r} is not an integer")
    return value
