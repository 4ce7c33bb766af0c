"""Which attempts on a Mac belong to no shard, and which shards wait for a Mac. Pure."""

from __future__ import annotations

from collections.abc import Callable

from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.protocol import AttemptStatus
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.reconcile.shard.status import is_live

Recorded = Callable[[str, int, str], bool]
"""(shard UID, attempt, Mac) -> whether this attempt was assigned to this Mac."""


def awaits(shard: AudioShard, mac: str) -> bool:
    """Whether the shard has an attempt on this Mac, or one that ended there with machine time not verified yet."""
    if shard.status.mac == mac and is_live(shard):
        return True
    return shard.spec.stage is Stage.PROCESS and any(
        record.mac == mac and (record.usage is None or not record.usage.complete) for record in shard.status.attempts
    )


def records(shard: AudioShard, attempt: int, mac: str) -> bool:
    """Whether this attempt was ever assigned to this Mac."""
    return any(record.attempt == attempt and record.mac == mac for record in shard.status.attempts)


def orphans(view: MacView, control_plane: str, recorded: Recorded) -> tuple[AttemptStatus, ...]:
    """Attempts of this control plane that no shard records for this Mac."""
    return tuple(
        report
        for key, report in sorted(view.attempts.items())
        if report.control_plane == control_plane and not recorded(key.shard_uid, key.attempt, view.name)
    )
