"""Verified machine time that no statement counts yet, kept up as shards and statements change."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from voxfleet_api.ledger import ChainHead
from voxfleet_operator.metering.recent_use import VerifiedTime, uncounted_milliseconds
from voxfleet_operator.metering.statements import SignedChain


class UncountedUse:
    def __init__(self) -> None:
        self._times: dict[str, tuple[VerifiedTime, ...]] = {}
        """By job UID, of those that have some."""
        self._namespaces: dict[str, str] = {}
        self._jobs: dict[SignedChain, set[str]] = defaultdict(set)
        """The jobs with time of a chain."""
        self._milliseconds: dict[str, int] = {}
        """By job UID; those that are left out have to be summed up."""
        self._heads: Mapping[SignedChain, ChainHead] = {}

    def __len__(self) -> int:
        return len(self._times) + len(self._jobs)

    def put(self, job_uid: str, namespace: str, times: tuple[VerifiedTime, ...]) -> None:
        """Takes what the shards of a job list now."""
        for chain in {time.chain for time in self._times.pop(job_uid, ())}:
            self._jobs[chain].discard(job_uid)
            if not self._jobs[chain]:
                del self._jobs[chain]
        self._milliseconds.pop(job_uid, None)
        self._namespaces.pop(job_uid, None)
        if not times:
            return
        self._times[job_uid], self._namespaces[job_uid] = times, namespace
        for time in times:
            self._jobs[time.chain].add(job_uid)

    def seconds(self, heads: Mapping[SignedChain, ChainHead]) -> Mapping[str, float]:
        """By namespace. `heads`: how far statements have counted."""
        found: Counter[str] = Counter()
        for uid, milliseconds in self.milliseconds(heads).items():
            found[self._namespaces[uid]] += milliseconds
        return {namespace: milliseconds / 1000 for namespace, milliseconds in found.items()}

    def attempts(self, job_uid: str) -> int:
        """How many attempts the shards of a job list that have verified time."""
        return len(self._times.get(job_uid, ()))

    def milliseconds(self, heads: Mapping[SignedChain, ChainHead]) -> Mapping[str, int]:
        """By job UID. `heads`: how far statements have counted."""
        if heads is not self._heads:
            for chain in {*heads, *self._heads}:
                if heads.get(chain) != self._heads.get(chain):
                    for uid in self._jobs.get(chain, ()):
                        self._milliseconds.pop(uid, None)
            self._heads = heads
        for uid in self._times.keys() - self._milliseconds.keys():
            self._milliseconds[uid] = uncounted_milliseconds(self._times[uid], heads)
        return self._milliseconds
