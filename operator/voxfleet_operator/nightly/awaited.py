"""Which Macs may have rows of a night that are not in the archive yet. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.fleet.verified_row import VerifiedRow
from voxfleet_operator.reconcile.shard.status import is_settled

IsCounted = Callable[[MacView, VerifiedRow], bool]
"""Whether a statement counts the row."""


def awaited_macs(
    shards: Iterable[AudioShard],
    views: Iterable[MacView],
    counts: Callable[[AttemptRecord], bool],
    is_counted: IsCounted,
    end: datetime,
) -> tuple[str, ...]:
    """By name. `end`: of the night. `counts`: whether a statement counts all rows of an attempt that is settled."""
    found = {record.mac for shard in shards for record in _awaited(shard, counts, end)}
    found.update(view.name for view in views if _has_rows(view, is_counted, end))
    return tuple(sorted(found))


def _awaited(shard: AudioShard, counts: Callable[[AttemptRecord], bool], end: datetime) -> Iterator[AttemptRecord]:
    newest, since = shard.status.attempt, shard.status.assigned_at
    began_later = since is not None and datetime.fromisoformat(since) >= end
    for record in shard.status.attempts:
        if record.attempt == newest and began_later:
            continue
        if record.outcome is AttemptOutcome.ASSIGNED or not is_settled(shard, record) or not counts(record):
            yield record


def _has_rows(view: MacView, is_counted: IsCounted, end: datetime) -> bool:
    """Rows of jobs that are gone are in no shard."""
    text = f"{end:%Y-%m-%dT%H:%M:%S}"
    return any(row.ours and row.began_before(text) and not is_counted(view, row) for row in view.rows)
