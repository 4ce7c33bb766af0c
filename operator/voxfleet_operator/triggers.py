"""Which keys to reconcile after a change. Each kind says in its own folder what wakes it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from voxfleet_api.kinds import KINDS, AudioShard, MacAgent, Resource
from voxfleet_operator.cache import Cache, key_of
from voxfleet_operator.queue import PLACEMENT, RESTORE, Key

WokenBy = Callable[[Resource, Cache], set[Key]]
"""Returns the keys of one reconciler that a change of an object wakes, beside the object's own."""


@dataclass(frozen=True, slots=True)
class Triggers:
    woken_by: tuple[WokenBy, ...]

    def keys_of_change(self, resource: Resource, cache: Cache) -> set[Key]:
        """The keys to reconcile after an object has changed or gone away."""
        return {key_of(resource)}.union(*(woken_by(resource, cache) for woken_by in self.woken_by))

    def keys_of_mac_change(self, mac: str, shard_uids: Iterable[str], cache: Cache) -> set[Key]:
        """The keys to reconcile after a Mac's view has changed, and with it what the Mac says about some shards."""
        keys = {Key(MacAgent.crd.kind, "", mac), PLACEMENT}
        for uid in shard_uids:
            shard = cache.by_uid(AudioShard, uid)
            if shard is not None:
                keys |= self.keys_of_change(shard, cache)
        return keys


def wakes_nothing(_: Resource, __: Cache) -> set[Key]:
    """Of a kind whose objects are woken by their own changes alone."""
    return set()


def all_keys(cache: Cache) -> set[Key]:
    """Every key, for a process that has become the leader."""
    return {PLACEMENT, RESTORE} | {key_of(resource) for kind in KINDS for resource in cache.all(kind)}
