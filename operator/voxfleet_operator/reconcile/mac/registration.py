"""MacAgent, for the registry."""

from __future__ import annotations

from voxfleet_api.kinds import AudioShard, MacAgent, Resource, VoiceEndpoint
from voxfleet_operator.cache import Cache, key_of
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.mac.reconcile import MacReconciler
from voxfleet_operator.reconcile.registration import Registration


def woken_by(changed: Resource, cache: Cache) -> set[Key]:
    """A shard wakes the Macs of its attempts that drain: each counts what is left to end, also one that lost it. An
    endpoint, which does not say which Mac its lane has left, wakes all that drain.
    """
    if isinstance(changed, VoiceEndpoint):
        return {key_of(mac) for mac in cache.all(MacAgent) if mac.spec.drain is not None}
    if not isinstance(changed, AudioShard):
        return set()
    named = {changed.status.mac, *(record.mac for record in changed.status.attempts)}
    macs = (cache.get(MacAgent, "", name) for name in named if name is not None)
    return {key_of(mac) for mac in macs if mac is not None and mac.spec.drain is not None}


REGISTRATION = Registration(
    MacAgent, lambda context, findings: MacReconciler(context, findings.exclusions, findings.refusing), woken_by
)
