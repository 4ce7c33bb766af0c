"""What the next attempt of a shard does differently after one that failed. Pure.

It avoids the Mac of the last one, and works on smaller batches once attempts ran out of memory or time on the GPU.
"""

from __future__ import annotations

from collections.abc import Iterable

from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord

MAX_BATCH_HALVINGS = 3
"""From 8, the largest tier of a ladder, to one clip at a time."""
_TOO_MUCH_AT_ONCE = frozenset({FailureClass.GPU_ABORT_OUT_OF_MEMORY, FailureClass.GPU_ABORT_TIMEOUT})


def mac_to_avoid(records: Iterable[AttemptRecord]) -> str | None:
    """The Mac on which the newest attempt ended badly. One that gave it back has not failed it; a Mac without room
    pauses instead.
    """
    newest = max(records, key=lambda record: record.attempt, default=None)
    if newest is None or newest.outcome in (AttemptOutcome.SUCCEEDED, AttemptOutcome.RETURNED):
        return None
    return newest.mac


def batch_halvings(shard: AudioShard, others: Iterable[AudioShard]) -> int:
    """Once for each attempt that took on too much at a time, also of the shards that this one was split from.

    `others`: the shards of its job.
    """
    above = () if shard.spec.piece is None else shard.spec.piece.inherits
    line = [shard, *(other for other in others if other.metadata.uid in above)]
    failed = [
        record
        for one in line
        for record in one.status.attempts
        if record.outcome is AttemptOutcome.FAILED and record.failure_class in _TOO_MUCH_AT_ONCE
    ]
    return min(len(failed), MAX_BATCH_HALVINGS)
