"""Pauses after failures, so that a broken Mac or shard does not use up its attempts within a second.

They are kept in memory only: a restart begins them anew, but what retries were used stands in the shards.
"""

from __future__ import annotations

from collections.abc import Mapping

from voxfleet_operator.reconcile.exclusions import Machine

INITIAL_SECONDS = 1.0
SHARD_FACTOR, SHARD_MAX_SECONDS = 4.0, 600.0
"""They spread a shard's seven retries over some fifteen minutes, in which a Mac that drains or cleans up returns."""
FORGET_SECONDS = 3600.0
MAC_FACTOR, MAC_MAX_SECONDS = 2.0, 60.0
MAC_ASKS_MAX_SECONDS = 600.0


class Backoffs:
    """The pauses of shards, by UID, and of Macs, by machine. Times are monotonic seconds.

    A pause that is over is forgotten with the next placement pass, and the failures of a Mac an hour later.
    """

    def __init__(self) -> None:
        self._shards: dict[str, float] = {}
        self._macs: dict[Machine, float] = {}
        self._mac_failures: dict[Machine, int] = {}

    def __len__(self) -> int:
        """How many shards and Macs are remembered."""
        return len(self._shards) + len(self._mac_failures.keys() | self._macs.keys())

    def shard_failed(self, uid: str, failures: int, now: float) -> None:
        """`failures`: how many attempts of the shard have failed so far."""
        self.forget(now)
        self._shards[uid] = now + min(SHARD_MAX_SECONDS, INITIAL_SECONDS * SHARD_FACTOR ** min(failures - 1, 16))

    def forget(self, now: float) -> None:
        """Forgets the shards' pauses that are over, and the failures of Macs an hour later; to be called now and then,
        as a shard may be deleted meanwhile."""
        self._shards = {uid: until for uid, until in self._shards.items() if until > now}
        for mac in [mac for mac, until in self._macs.items() if until + FORGET_SECONDS <= now]:
            self.mac_succeeded(mac)

    def shard_ended(self, uid: str) -> None:
        self._shards.pop(uid, None)

    def mac_failed(self, mac: Machine, now: float, at_least_seconds: float = 0.0) -> None:
        """`at_least_seconds`: how long the Mac asks to be left alone."""
        self.forget(now)
        failures = self._mac_failures.get(mac, 0)
        self._mac_failures[mac] = failures + 1
        backoff_seconds = min(MAC_MAX_SECONDS, INITIAL_SECONDS * MAC_FACTOR ** min(failures, 16))
        self._macs[mac] = now + min(MAC_ASKS_MAX_SECONDS, max(at_least_seconds, backoff_seconds))

    def mac_succeeded(self, mac: Machine) -> None:
        self._mac_failures.pop(mac, None)
        self._macs.pop(mac, None)

    def shard_pauses(self) -> Mapping[str, float]:
        """By UID: until when each shard pauses. Some may be over."""
        return self._shards

    def mac_until(self, mac: Machine) -> float:
        return self._macs.get(mac, 0.0)
