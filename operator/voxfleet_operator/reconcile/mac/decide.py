"""Which attempts on a Mac belong to no shard, and which shards wait for a Mac. Pure."""

from __future__ import annotations

from collections.abc import Callable

from voxfleet_api.kinds import AudioShard
from voxfleet_api.protocol import AttemptStatus
from voxfleet_operator.fleet.mac_view import MacView, stands_for
from voxfleet_operator.reconcile.shard.status import is_settled

Recorded = Callable[[str, int, MacView], bool]
"""(shard UID, attempt, Mac) -> whether this attempt was assigned to the machine that this Mac is."""


def awaits(shard: AudioShard, mac: MacView) -> bool:
    """Whether the shard has an attempt on this Mac, or one that ended there with machine time not verified yet."""
    return any(stands_for(mac, record) for record in shard.status.attempts if not is_settled(shard, record))


def records(shard: AudioShard, attempt: int, mac: MacView) -> bool:
    """Whether this attempt was ever assigned to the machine that this Mac is."""
    return any(record.attempt == attempt and stands_for(mac, record) for record in shard.status.attempts)


def orphans(view: MacView, control_plane: str, recorded: Recorded) -> tuple[AttemptStatus, ...]:
    """Attempts of this control plane that no shard records for this machine."""
    return tuple(
        report
        for key, report in sorted(view.attempts.items())
        if report.control_plane == control_plane and not recorded(key.shard_uid, key.attempt, view)
    )
