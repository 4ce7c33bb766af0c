"""The events of a stream: journaled events after a cursor, and progress, which is not journaled."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from voxfleet_agent.attempts.live_attempt import LiveAttempt
from voxfleet_agent.journal import attempt_table, event_table
from voxfleet_agent.journal.attempt_table import JournaledAttempt
from voxfleet_agent.journal.event_table import StoredEvent
from voxfleet_agent.journal.journal import Journal
from voxfleet_agent.ledger import span
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.protocol import TERMINAL_STATES, AttemptList, AttemptStatus, EventType, LedgerSpan

PAGE_BYTES = 2 * 2**20
"""A page of attempts ends once it is longer. One attempt is some kB, a Plan's with all boundaries some 40."""


class UnknownCursor(Exception):
    """The events after this cursor are unknown here; the client must list again, then stream."""


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events and progress after a cursor."""

    events: Sequence[StoredEvent]
    progressed: Sequence[AttemptStatus]
    progress_count: int


class EventFeed:
    def __init__(self, journal: Journal, chain_id: str, attempts: Callable[[], Iterable[LiveAttempt]]) -> None:
        self._journal = journal
        self._chain_id = chain_id
        self._attempts = attempts
        self._progress_count = 0
        self._progress_published = 0

    def note_progress(self, live: LiveAttempt) -> None:
        self._progress_count += 1
        live.progressed = self._progress_count

    def publish_progress(self) -> None:
        """Lets event streams send the progress made so far; called once a second, however fast clips end."""
        if self._progress_count > self._progress_published:
            self._progress_published = self._progress_count
            self._journal.wake()

    async def listing(self, limit: int | None = None, after: AttemptKey | None = None) -> AttemptList:
        """Returns the attempts known here that follow a key, and the cursor after which events continue.

        A page ends after `limit` attempts or PAGE_BYTES; None: no page, but all of them. States are read from the
        journal, like the cursor, because memory is updated a moment after each commit: a list older than its cursor
        would lose the changes between the two.
        """
        progress = {live.key: live.record.progress for live in self._attempts()}

        def work(db: sqlite3.Connection) -> AttemptList:
            cursor = self.cursor(event_table.last(db))
            attempts: list[AttemptStatus] = []
            size_bytes = 0
            for record in attempt_table.load_after(db, after):
                if limit is not None and (len(attempts) == limit or size_bytes > PAGE_BYTES):
                    last = attempts[-1]
                    token = str(AttemptKey(last.shard_uid, last.attempt))
                    return AttemptList(attempts=tuple(attempts), cursor=cursor, continue_token=token)
                known = replace(record, progress=progress.get(record.key, record.progress))
                attempts.append(status_of(db, self._chain_id, known))
                if limit is not None:
                    size_bytes += len(attempts[-1].model_dump_json())
            return AttemptList(attempts=tuple(attempts), cursor=cursor)

        return await self._journal.read(work)

    def cursor(self, number: int) -> str:
        return f"{self._journal.journal_id}:{number}"

    async def resolve(self, cursor: str) -> int:
        """Returns the number in a cursor. Raises UnknownCursor for another journal, and for deleted events."""
        journal_id, _, number = cursor.partition(":")
        if journal_id != self._journal.journal_id or not (number.isascii() and number.isdecimal() and len(number) < 20):
            raise UnknownCursor
        first, last = await self._journal.read(lambda db: (event_table.floor(db), event_table.last(db)))
        if not first <= int(number) <= last:
            raise UnknownCursor
        return int(number)

    async def page(self, after: int, progress_count: int, limit: int) -> EventPage:
        """Returns the events after a number, oldest first, and the attempts that progressed since an earlier page.

        Raises UnknownCursor when events after the number have been deleted meanwhile.
        """
        count = self._progress_published
        progress = {
            live.key: live.record.progress for live in self._attempts() if count > progress_count < live.progressed
        }

        def work(db: sqlite3.Connection) -> EventPage:
            if after < event_table.floor(db):
                raise UnknownCursor
            events = event_table.after(db, after, limit)
            if events:  # an attempt's progress must come after its state changes, and never undo one
                return EventPage(events, [], progress_count)
            statuses = [
                status_of(db, self._chain_id, replace(record, progress=progress[record.key]))
                for record in attempt_table.load(db, progress)
            ]
            return EventPage(events, statuses, count)

        return await self._journal.read(work)

    async def acknowledge(self, number: int) -> None:
        """Deletes events up to this number."""
        await self._journal.write(lambda db: event_table.trim(db, number))


def status_of(db: sqlite3.Connection, chain_id: str, record: JournaledAttempt) -> AttemptStatus:
    return attempt_status(record, span(db, chain_id, record.key))


def attempt_status(record: JournaledAttempt, rows: LedgerSpan | None) -> AttemptStatus:
    """`rows`: what the attempt has in the ledger so far."""
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
        ended=record.state in TERMINAL_STATES,
        lane=record.lane,
        failure=record.failure,
        progress=record.progress,
        result=record.result,
        ledger=rows,
        scratch_high_water_bytes=record.scratch_high_water_bytes,
        scratch_residue_bytes=record.scratch_residue_bytes,
    )


def append_status(db: sqlite3.Connection, chain_id: str, record: JournaledAttempt) -> None:
    """Appends the event of a state change in the transaction of that change."""
    event_table.append(db, EventType.ATTEMPT, status_of(db, chain_id, record))
