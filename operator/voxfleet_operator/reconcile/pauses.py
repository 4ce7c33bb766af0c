"""Short pauses after failures, so that a broken Mac or shard does not burn its attempts in a second.

In memory only: after a restart the pauses start anew, the attempts' numbers do not.
"""

from __future__ import annotations

INITIAL_SECONDS = 1.0
MAX_SECONDS = 60.0


class Pauses:
    """Of shards, by UID, and of Macs, by name. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._shards: dict[str, float] = {}
        self._macs: dict[str, float] = {}
        self._mac_failures: dict[str, int] = {}

    def shard_failed(self, uid: str, attempt: int, now: float) -> None:
        self._shards[uid] = now + _backoff(attempt - 1)

    def shard_ended(self, uid: str) -> None:
        self._shards.pop(uid, None)

    def mac_failed(self, mac: str, now: float, at_least_seconds: float = 0.0) -> None:
        failures = self._mac_failures.get(mac, 0)
        self._mac_failures[mac] = failures + 1
        self._macs[mac] = now + max(at_least_seconds, _backoff(failures))

    def mac_succeeded(self, mac: str) -> None:
        self._mac_failures.pop(mac, None)
        self._macs.pop(mac, None)

    def shard_until(self, uid: str) -> float:
        return self._shards.get(uid, 0.0)

    def mac_until(self, mac: str) -> float:
        return self._macs.get(mac, 0.0)


def _backoff(failures: int) -> float:
    return min(MAX_SECONDS, INITIAL_SECONDS * 2.0 ** min(failures, 16))
