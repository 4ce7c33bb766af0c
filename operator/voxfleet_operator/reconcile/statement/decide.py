"""Which of a Mac's verified rows are settled, in what class their time falls, and when to write it down. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from voxfleet_api.kinds import AudioShard
from voxfleet_api.ledger import Activity
from voxfleet_billing.archive_format import TimeClass
from voxfleet_operator.fleet.mac_view import MacView, stands_for
from voxfleet_operator.fleet.verified_row import VerifiedRow
from voxfleet_operator.metering.usage import newer
from voxfleet_operator.reconcile.shard.status import is_committed, is_failed, is_settled, is_superseded

INTERVAL_SECONDS = 3600
MAX_WAITING_ROWS = 1000
"""So many settled rows are written before the hour is over, so that memory holds no more."""

ShardByUid = Callable[[str], AudioShard | None]
CursorOf = Callable[[str], int]
"""The number of the newest row of a chain that is settled; -1 before the first."""


@dataclass(frozen=True, slots=True)
class SettledRow:
    row: VerifiedRow
    work: TimeClass
    """The class of its attempt's work, whatever this row is of; or Foreign."""

    @property
    def time_class(self) -> TimeClass:
        if self.work is TimeClass.FOREIGN or self.row.activity == Activity.WORK:
            return self.work
        return TimeClass.OVERHEAD


@dataclass(frozen=True, slots=True)
class SettledRun:
    """Rows of one chain and one month that follow each other. One write adds them to the month's statement.

    The runs of a chain are written in their order, each only after the one before it. So the highest cursor of a chain
    in any statement says how far all of the chain is settled.
    """

    chain_id: str
    month: str
    rows: tuple[SettledRow, ...]


def settled_runs(view: MacView, shard_by_uid: ShardByUid, cursor_of: CursorOf) -> tuple[SettledRun, ...]:
    """The runs to write: each chain's rows up to its first one that is not settled."""
    runs: list[SettledRun] = []
    for chain_id, rows in groupby(view.rows, key=lambda row: row.chain_id):
        cursor = cursor_of(chain_id)
        new = (row for row in rows if row.sequence > cursor)
        for month, run in groupby(_settled_first(new, view, shard_by_uid), key=lambda item: item.row.month):
            runs.append(SettledRun(chain_id, month, tuple(run)))
    return tuple(runs)


def is_due(runs: Iterable[SettledRun], times: Iterable[str], now: datetime) -> bool:
    """Whether to write now: an hour after the last time, or when many rows wait.

    `times`: when rows of the Mac were written, and when it was added. One that lies ahead is of a clock that was fast,
    and says nothing: the rows would wait, in memory, for as long as that clock was ahead.
    """
    waiting = sum(len(run.rows) for run in runs)
    if waiting == 0:
        return False
    ages_seconds = [(now - datetime.fromisoformat(time)).total_seconds() for time in times]
    age_seconds = min((age for age in ages_seconds if age >= 0), default=INTERVAL_SECONDS)
    return waiting >= MAX_WAITING_ROWS or age_seconds >= INTERVAL_SECONDS


def work_class(row: VerifiedRow, shard: AudioShard | None, view: MacView) -> TimeClass | None:
    """None while the row is not settled: its attempt may still get a result, or is not all in its shard's status."""
    if not row.ours:
        return TimeClass.FOREIGN
    if row.is_of_endpoint:
        return TimeClass.PRODUCTIVE  # there is no commit to wait for, nor another attempt whose result may count
    work = TimeClass.RETRY
    if shard is None:
        if not view.connected or row.attempt in view.attempts:
            return None
        work = TimeClass.ORPHANED
    else:
        number = row.attempt.attempt
        record = next((item for item in shard.status.attempts if item.attempt == number), None)
        if record is None:
            if number > (shard.status.attempt or 0) and _may_be_recorded(row, shard, view):
                return None
        elif stands_for(view, record):
            if not is_settled(shard, record) or newer(record.usage, view.usage.get(row.attempt)):
                return None
            if shard.status.commit is not None and shard.status.commit.attempt == number:
                work = TimeClass.PRODUCTIVE
    return work


def _may_be_recorded(row: VerifiedRow, shard: AudioShard, view: MacView) -> bool:
    """Whether an attempt newer than the cached shard may be one that the cache has not seen yet.

    Otherwise an API server that was restored from a backup has forgotten it: the shard gets no further attempt, or its
    Mac has dropped it. Such a row must not hold up those behind it.
    """
    gets_no_other = is_committed(shard) or is_failed(shard) or is_superseded(shard)
    return not gets_no_other and (not view.connected or row.attempt in view.attempts)


def _settled_first(rows: Iterable[VerifiedRow], view: MacView, shard_by_uid: ShardByUid) -> Iterable[SettledRow]:
    for row in rows:
        found = work_class(row, shard_by_uid(row.attempt.shard_uid), view)
        if found is None:
            return
        yield SettledRow(row, found)
