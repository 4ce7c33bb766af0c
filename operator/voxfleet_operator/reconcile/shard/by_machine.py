"""The shards that wait for a machine: they have an attempt on it, or machine time there that is not verified yet."""

from __future__ import annotations

from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import MachineIdentity
from voxfleet_operator.cache import Cache
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.reconcile.shard.status import is_settled


class ShardsByMachine:
    """Kept up with the cache, as one Mac asks for few of all shards."""

    def __init__(self, cache: Cache) -> None:
        self._index = cache.index(AudioShard, _machines_of)

    def of(self, mac: MacView) -> list[AudioShard]:
        """All that may wait for the machine that the Mac stands for; `stands_for` tells."""
        found = self._index.of(_named(mac.name))
        if mac.identity is None:
            return found
        known = set(map(id, found))
        return [*found, *(shard for shard in self._index.of(_machine(mac.identity)) if id(shard) not in known)]

    def version(self, mac: MacView) -> tuple[int, int]:
        """Another one means that what `of` returns may have changed."""
        by_machine = 0 if mac.identity is None else self._index.version(_machine(mac.identity))
        return self._index.version(_named(mac.name)), by_machine


def _machines_of(shard: AudioShard) -> frozenset[str]:
    open_ones = [record for record in shard.status.attempts if not is_settled(shard, record)]
    return frozenset(
        (
            *(_named(record.mac) for record in open_ones),
            *(_machine(record.machine) for record in open_ones if record.machine is not None),
        )
    )


def _named(mac: str) -> str:
    return f"mac {mac}"


def _machine(identity: MachineIdentity) -> str:
    return f"machine {identity.hardware_id} {identity.ledger_key}"
