"""Which keys to reconcile after a change. Each kind says in its own folder what wakes it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from voxfleet_api.kinds import KINDS, AudioShard, MacAgent, Resource, VoiceEndpoint
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

    def keys_of_mac_change(self, mac: str, uids: Iterable[str], cache: Cache) -> set[Key]:
        """The keys to reconcile after a Mac's view has changed, and with it what the Mac says about some shards and
        endpoints. One that has a lane there, or lacks one, is concerned by whatever changes of the Mac.
        """
        keys = {Key(MacAgent.crd.kind, "", mac), PLACEMENT}
        keys |= {key_of(endpoint) for endpoint in endpoints_of_mac(mac, cache)}
        for uid in uids:
            shard = cache.by_uid(AudioShard, uid)
            if shard is not None:
                keys |= self.keys_of_change(shard, cache)
        return keys


def endpoints_of_mac(mac: str, cache: Cache) -> list[VoiceEndpoint]:
    """Those with a lane on the Mac, and those that lack one."""
    return [*endpoints_on(mac, cache), *waiting_endpoints(cache)]


def endpoints_on(mac: str, cache: Cache) -> list[VoiceEndpoint]:
    """Those with a lane on the Mac, or from which one still goes."""
    return cache.index(VoiceEndpoint, _places).of(mac)


def waiting_endpoints(cache: Cache) -> list[VoiceEndpoint]:
    return cache.index(VoiceEndpoint, _places).of(_WAITS)


_WAITS = ""


def _places(endpoint: VoiceEndpoint) -> tuple[str, ...]:
    """The Macs that have a lane of it; and that it lacks one."""
    macs = {lane.mac for lane in endpoint.status.macs}
    waits = endpoint.status.pending_reason is not None
    return (*macs, *((_WAITS,) if waits else ()))


def wakes_nothing(_: Resource, __: Cache) -> set[Key]:
    """Of a kind whose objects are woken by their own changes alone."""
    return set()


def all_keys(cache: Cache) -> set[Key]:
    """Every key, for a process that has become the leader."""
    return {PLACEMENT, RESTORE} | {key_of(resource) for kind in KINDS for resource in cache.all(kind)}
