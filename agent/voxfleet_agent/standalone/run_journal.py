"""The attempts of one run, durable in its journal, so that the same command resumes an interrupted run."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace

from voxfleet_agent.journal import attempt_table
from voxfleet_agent.journal.attempt_table import JournaledAttempt
from voxfleet_agent.journal.journal import Journal
from voxfleet_api.attempt_spec import AttemptKey, AttemptSpec
from voxfleet_api.digest import digest_of
from voxfleet_api.protocol import AttemptFailure, AttemptState, ShardResult

CONTROL_PLANE = "local"


class RunJournal:
    """The newest attempt of each shard, as the journal holds it."""

    def __init__(self, journal: Journal, records: list[JournaledAttempt]) -> None:
        self._journal = journal
        self._newest: dict[str, JournaledAttempt] = {}
        self._last_delivered: dict[str, JournaledAttempt] = {}
        self._first: dict[str, int] = {}
        for record in sorted(records, key=lambda record: record.key.attempt):
            self._newest[record.key.shard_uid] = record
            self._first.setdefault(record.key.shard_uid, record.key.attempt)
            if record.result is not None:
                self._last_delivered[record.key.shard_uid] = record

    @classmethod
    async def load(cls, journal: Journal) -> RunJournal:
        return cls(journal, await journal.read(attempt_table.load_all))

    @property
    def is_new(self) -> bool:
        """Whether nothing of this run ever began here."""
        return not self._newest

    def knows(self, shard_uid: str) -> bool:
        return shard_uid in self._newest

    def delivered(self, shard_uid: str) -> JournaledAttempt | None:
        """The newest attempt, if it has a result."""
        record = self._newest.get(shard_uid)
        return record if record is not None and record.result is not None else None

    def last_delivered(self, shard_uid: str) -> JournaledAttempt | None:
        """The newest attempt that has a result, whatever came after it."""
        return self._last_delivered.get(shard_uid)

    def inherited(self, shard_uid: str, attempt: int | None) -> bool:
        """Whether the results of this attempt existed before anything of the shard began here."""
        return attempt is not None and attempt < self._first.get(shard_uid, 1)

    def begin(self, shard_uid: str, make_spec: Callable[[int], AttemptSpec], first: int) -> AttemptSpec:
        """Returns the spec of the interrupted attempt if it is unchanged, otherwise the spec of the next attempt.

        `make_spec`: makes the spec of an attempt from its number. `first`: the number of a shard's very first attempt.
        """
        record = self._newest.get(shard_uid)
        if record is None:
            return make_spec(first)
        spec = make_spec(record.key.attempt)
        interrupted = record.result is None and record.failure is None
        if interrupted and digest_of(spec) == record.spec_digest:
            return spec
        return make_spec(record.key.attempt + 1)

    async def running(self, spec: AttemptSpec) -> JournaledAttempt:
        """Makes it durable that the attempt has begun."""
        record = JournaledAttempt(
            key=AttemptKey(spec.shard_uid, spec.attempt),
            spec_digest=digest_of(spec),
            control_plane=CONTROL_PLANE,
            spec=spec,
            state=AttemptState.RUNNING,
        )
        await self._journal.write(lambda db: attempt_table.save(db, record))
        self._newest[spec.shard_uid] = record
        self._first.setdefault(spec.shard_uid, spec.attempt)
        return record

    async def ended(
        self,
        record: JournaledAttempt,
        outcome: ShardResult | AttemptFailure,
        scratch_high_water_bytes: int,
        scratch_residue_bytes: int,
    ) -> None:
        """Makes the outcome durable and deletes what only the running stage needed."""
        ended = replace(
            record,
            state=AttemptState.SUCCEEDED if isinstance(outcome, ShardResult) else AttemptState.FAILED,
            result=outcome if isinstance(outcome, ShardResult) else None,
            failure=outcome if isinstance(outcome, AttemptFailure) else None,
            scratch_high_water_bytes=scratch_high_water_bytes,
            scratch_residue_bytes=scratch_residue_bytes,
        )

        def work(db: sqlite3.Connection) -> None:
            attempt_table.save(db, ended)
            attempt_table.delete_stage_data(db, ended.key)

        await self._journal.write(work)
        self._newest[ended.key.shard_uid] = ended
        if ended.result is not None:
            self._last_delivered[ended.key.shard_uid] = ended

    def scratch_bytes(self) -> tuple[int, int]:
        """Returns (most bytes that one attempt held, bytes that ended attempts left behind)."""
        records = self._newest.values()
        high_water_bytes = max((record.scratch_high_water_bytes for record in records), default=0)
        return high_water_bytes, sum(record.scratch_residue_bytes for record in records)
