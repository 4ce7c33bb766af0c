"""Which attempts on a Mac are not over or belong to no shard, and which shards wait for a Mac. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from voxfleet_api.kinds import AudioShard
from voxfleet_api.protocol import AttemptStatus
from voxfleet_operator.fleet.mac_view import MacView, stands_for
from voxfleet_operator.reconcile.shard.pieces import attempts_before
from voxfleet_operator.reconcile.shard.status import current, is_live, is_settled

Recorded = Callable[[str, int, MacView], bool]
"""(shard UID, attempt, Mac) -> whether this attempt was assigned to the machine that this Mac is."""


def awaits(shard: AudioShard, mac: MacView) -> bool:
    """Whether the shard has an attempt on this Mac, or one that ended there with machine time not verified yet."""
    return any(stands_for(mac, record) for record in shard.status.attempts if not is_settled(shard, record))


def records(shard: AudioShard, attempt: int, mac: MacView) -> bool:
    """Whether this attempt was ever assigned to the machine that this Mac is."""
    return any(record.attempt == attempt and stands_for(mac, record) for record in shard.status.attempts)


def left_to_end(shards: Iterable[AudioShard], mac: MacView, control_plane: str) -> tuple[str, ...]:
    """The shards with an attempt on this Mac that is not over, each with its namespace: their newest one, and what the
    Mac still works on though its shard has given it up. Without contact, what was given up is over: its lease is.
    """
    live = ((shard, current(shard.status)) for shard in shards if is_live(shard))
    newest = (
        f"{shard.metadata.namespace}/{shard.metadata.name}"
        for shard, record in live
        if record is not None and stands_for(mac, record)
    )
    given_up = (
        f"{report.namespace}/{report.shard_name}"
        for report in mac.attempts.values()
        if mac.connected and report.control_plane == control_plane and not report.has_ended
    )
    return tuple(sorted({*newest, *given_up}))


def is_ahead(report: AttemptStatus, shard: AudioShard | None) -> bool:
    """Whether the attempt is newer than all that the API server knows of its shard: every attempt is written there
    before its Mac is called."""
    return shard is not None and report.attempt > attempts_before(shard)


def orphans(view: MacView, control_plane: str, recorded: Recorded) -> tuple[AttemptStatus, ...]:
    """Attempts of this control plane that no shard records for this machine."""
    return tuple(
        report
        for key, report in sorted(view.attempts.items())
        if report.control_plane == control_plane and not recorded(key.shard_uid, key.attempt, view)
    )
