"""Which estimates of attempts, whose Macs are gone, this process has seen in archive and statement.

Their shards may go then. A new process looks again, so a shard goes later and never too early.
"""

from __future__ import annotations

from collections.abc import Iterable

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import AttemptRecord


class ArchivedEstimates:
    def __init__(self) -> None:
        self._by_mac: dict[str, frozenset[AttemptKey]] = {}

    def seen(self, mac: str, attempts: Iterable[AttemptKey]) -> None:
        """All of the Mac whose shards are still there; of any other nothing is remembered."""
        found = frozenset(attempts)
        if found:
            self._by_mac[mac] = found
        else:
            self._by_mac.pop(mac, None)

    def has(self, shard: AudioShard, record: AttemptRecord) -> bool:
        """Also true of an attempt of which nothing was estimated."""
        if record.usage is None or record.usage.estimate is None:
            return True
        return AttemptKey(shard.metadata.uid, record.attempt) in self._by_mac.get(record.mac, frozenset())
