"""When a shard that keeps failing is split into two halves, so that one bad clip does not cost its siblings. Pure.

Two writes split it. The first closes the shard: it names the halves and takes one more attempt number, which nobody is
assigned, so that no assignment decided on before can still be written. Then the job's pass makes the halves that a
closed shard lacks; it finds out which from the closed shard alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from voxfleet_api.conditions import Reason
from voxfleet_api.failures import FailureClass, Remedy, rule_of
from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import MAX_SPLITS_IN_A_ROW, AttemptOutcome, AttemptRecord, AudioShardStatus, Stage
from voxfleet_api.machine_messages import Capability
from voxfleet_api.ranges import count
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.reconcile.shard.new_shard import shard_name
from voxfleet_operator.reconcile.shard.pieces import HALVES, attempts_before, path_of
from voxfleet_operator.reconcile.shard.status import (
    current,
    is_committed,
    is_failed,
    is_live,
    is_superseded,
    retries_used,
    with_state,
)

MAX_SPLITS = 64
"""Of one job. One bad clip among a thousand takes ten; where every Mac fails, more would only multiply the failures."""
ENOUGH_MACHINES = 2
"""On so many machines a shard fails before its clips are suspected rather than a machine."""


@dataclass(frozen=True, slots=True)
class SplitLimits:
    retry_limit: int
    """Retries of one shard; 0 allows no split, either."""
    job_splits: int
    """How many shards of the job are closed already."""
    agents_can: bool
    """Whether every agent in contact knows parts of shards."""


def knows_pieces(views: Iterable[MacView]) -> bool:
    """Whether every agent in contact knows parts of shards. An older one would never take them, so none are made."""
    machines = [view.machine for view in views if view.connected]
    return bool(machines) and all(
        machine is not None and Capability.SHARD_PIECES in machine.capabilities for machine in machines
    )


def is_suspect(shard: AudioShard) -> bool:
    """Whether its newest attempt has ended so that one of its clips may be at fault.

    A shard that was closed has no record of its newest attempt. If it is open again, because an older operator, or the
    CRDs of one, dropped what closed it, it first gets another attempt. So it is never closed in a circle.
    """
    newest = current(shard.status)
    return newest is not None and may_be_a_clips_fault(newest) and not is_live(shard)


def is_split_due(shard: AudioShard, limits: SplitLimits) -> bool:
    """Whether the shard, whose newest attempt has ended, is split instead of tried once more as a whole.

    After attempts on two machines failed in a way that a clip may have caused; or, as on a fleet of one Mac, when the
    last retry is all that is left.
    """
    if not is_suspect(shard) or not _may_split(shard, limits):
        return False
    machines = {record.machine or record.mac for record in shard.status.attempts if may_be_a_clips_fault(record)}
    return len(machines) >= ENOUGH_MACHINES or retries_used(shard.status) >= limits.retry_limit - 1


def is_split_due_once_lost(shard: AudioShard, limits: SplitLimits) -> bool:
    """Whether it is split if its newest attempt, which is assigned, is given up as lost."""
    lost = tuple(
        record.model_copy(update={"outcome": AttemptOutcome.LOST}) if record == current(shard.status) else record
        for record in shard.status.attempts
    )
    return is_split_due(shard.model_copy(update={"status": shard.status.model_copy(update={"attempts": lost})}), limits)


def may_be_a_clips_fault(record: AttemptRecord) -> bool:
    """Whether one clip may have brought the attempt down: it failed in a way that another Mac might not, or its Mac
    went silent. A full disk is the Mac's own, and a refusal came before any clip.
    """
    if record.outcome is AttemptOutcome.LOST:
        return True
    if record.outcome is not AttemptOutcome.FAILED or record.failure_class is None:
        return False
    return (
        record.failure_class != FailureClass.SCRATCH_EXHAUSTED
        and rule_of(record.failure_class).remedy is Remedy.OTHER_MAC
    )


def _may_split(shard: AudioShard, limits: SplitLimits) -> bool:
    return (
        shard.spec.stage is Stage.PROCESS
        and limits.agents_can
        and limits.retry_limit > 0
        and limits.job_splits < MAX_SPLITS
        and not (is_committed(shard) or is_failed(shard) or is_superseded(shard))
        and len(path_of(shard)) < MAX_SPLITS_IN_A_ROW
        and count(shard.spec.indexes or "") > 1
    )


def closed(shard: AudioShard, now: str) -> AudioShardStatus:
    """Closes the shard for good; its halves take over."""
    job, path = shard.spec.job_ref.name, path_of(shard)
    halves = tuple(shard_name(job, shard.spec.stage, shard.spec.ordinal, path + half) for half in HALVES)
    blamed = [record for record in shard.status.attempts if may_be_a_clips_fault(record)]
    why = ", ".join(f"{record.failure_class or record.outcome} on {record.mac}" for record in blamed[-3:])
    status = shard.status.model_copy(update={"superseded_by": halves, "attempt": attempts_before(shard) + 1})
    message = f"split into {' and '.join(halves)}, because one clip may be what attempts fail at: {why}"
    return with_state(shard, status, Reason.SPLIT, message, now)
