"""MacAgent: keeps a session open, publishes what it shows, and deletes attempts that nobody owns."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from voxfleet_api.kinds import AudioShard, MacAgent
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.protocol import AttemptStatus
from voxfleet_operator.cache import key_of
from voxfleet_operator.fleet.view import AgentRefused, AgentUnreachable, MacView
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.mac_status import mac_status
from voxfleet_operator.reconcile.shard_state import is_live
from voxfleet_operator.reconcile.writes import take, write_status

DELETE_POLL_SECONDS = 1.0

Recorded = Callable[[str, int, str], bool]
"""(shard UID, attempt, Mac) -> whether this attempt was assigned to this Mac."""

log = structlog.get_logger(__name__)


class MacReconciler:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._connected: dict[str, bool] = {}

    async def reconcile(self, key: Key) -> float | None:
        context = self._context
        mac = context.cache.get(MacAgent, "", key.name)
        if mac is None:
            context.fleet.forget(key.name)
            self._contact(key.name, connected=False)
            return None
        context.leader.check()
        context.fleet.ensure(mac)
        view = context.fleet.view(key.name)
        self._contact(key.name, connected=view.connected)
        written = await write_status(context, mac, mac_status(mac, view, context.timestamp()))
        if written is None:
            return 0.0
        return await self._delete_orphans(view)

    def _contact(self, mac: str, *, connected: bool) -> None:
        """Wakes the shards that wait for a word of a Mac that came or went, also those it never heard of."""
        if self._connected.get(mac) == connected:
            return
        self._connected[mac] = connected
        for shard in self._context.cache.all(AudioShard):
            if awaits(shard, mac):
                self._context.queue.add(key_of(shard))

    async def _delete_orphans(self, view: MacView) -> float | None:
        """Attempts whose AudioShard is gone; pending deletes are derived from this and stored nowhere."""
        if not view.connected or not self._context.synced():
            return None
        again: float | None = None
        for report in orphans(view, self._context.options.control_plane, self._recorded):
            if await self._lives(report, view.name):
                continue
            self._context.leader.check()
            try:
                gone = await self._context.fleet.delete(view.name, report.shard_uid, report.attempt)
            except (AgentRefused, AgentUnreachable) as error:
                log.warning(
                    "orphaned attempt not deleted", mac=view.name, shard=report.shard_name, attempt=report.attempt,
                    error=str(error),
                )  # fmt: skip
                gone = False
            if not gone:
                again = DELETE_POLL_SECONDS
        return again

    def _recorded(self, shard_uid: str, attempt: int, mac: str) -> bool:
        shard = self._context.cache.by_uid(AudioShard, shard_uid)
        return shard is not None and records(shard, attempt, mac)

    async def _lives(self, report: AttemptStatus, mac: str) -> bool:
        """Asks the API server itself: a cache may lag, and a deletion cannot be taken back."""
        found = await self._context.api.get(AudioShard, report.namespace, report.shard_name)
        if found is None:
            return False
        take(self._context, found)
        return found.metadata.uid == report.shard_uid and records(found, report.attempt, mac)


def awaits(shard: AudioShard, mac: str) -> bool:
    """Whether an attempt is assigned to this Mac, or one that ended there lacks its verified machine time."""
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
