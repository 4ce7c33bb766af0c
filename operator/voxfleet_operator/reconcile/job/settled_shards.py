"""Which shards of an ended job may go: nothing is left to learn of them, and no bill is made of them any more. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_api.kinds.audio_shard import AttemptRecord
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job_life import has_ended
from voxfleet_operator.reconcile.shard.status import is_settled

KEPT = timedelta(hours=1)
"""So long the shards of an ended job can be looked at."""
BATCH_SECONDS = 1.0
BATCH = 100
"""So many are deleted in one pass, so that other keys get their turn."""
STATEMENT_SECONDS = 600.0
"""After how long to look again for statements that have to be written first."""

Counted = Callable[[AudioShard, AttemptRecord], bool]
"""Whether statements have all that they need of an attempt: its rows, and what was estimated of it."""


@dataclass(frozen=True, slots=True)
class Removal:
    shards: tuple[AudioShard, ...] = ()
    again_seconds: float | None = None


def plan_removal(job: AudioBatchJob, shards: JobShards, counted: Counted, now: datetime) -> Removal:
    """A shard with a result, or one that was split, goes once its job's usage is frozen and statements count its rows.

    A shard that failed stays as long as its job, for it says why.
    """
    if not has_ended(job) or not job.status.usage.settled or job.status.completion_time is None:
        return Removal()
    done = [found.shard for found in shards.facts if found.is_committed or found.is_superseded]
    if not done:
        return Removal()
    kept_seconds = (datetime.fromisoformat(job.status.completion_time) + KEPT - now).total_seconds()
    if kept_seconds > 0:
        return Removal(again_seconds=kept_seconds)
    removable = [shard for shard in done if _is_counted(shard, counted)]
    if len(removable) > BATCH:
        return Removal(tuple(removable[:BATCH]), again_seconds=BATCH_SECONDS)
    again_seconds = None if len(removable) == len(done) else STATEMENT_SECONDS
    return Removal(tuple(removable), again_seconds)


def _is_counted(shard: AudioShard, counted: Counted) -> bool:
    return all(is_settled(shard, record) and counted(shard, record) for record in shard.status.attempts)
