"""MacAgent, for the registry."""

from __future__ import annotations

from voxfleet_api.kinds import AudioShard, MacAgent, Resource
from voxfleet_operator.cache import Cache, key_of
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.mac.reconcile import MacReconciler
from voxfleet_operator.reconcile.registration import Registration


def woken_by(changed: Resource, cache: Cache) -> set[Key]:
    """A shard wakes the Mac that drains, which counts what is left to end."""
    if not isinstance(changed, AudioShard) or changed.status.mac is None:
        return set()
    mac = cache.get(MacAgent, "", changed.status.mac)
    return set() if mac is None or mac.spec.drain is None else {key_of(mac)}


REGISTRATION = Registration(MacAgent, lambda context, findings: MacReconciler(context, findings.exclusions), woken_by)
