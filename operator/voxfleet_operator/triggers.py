"""Which keys to reconcile after a change. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, Resource, VoiceContract
from voxfleet_operator.cache import Cache, key_of
from voxfleet_operator.queue import PLACEMENT, Key


def keys_of_change(resource: Resource, cache: Cache) -> set[Key]:
    """The keys to reconcile after an object has changed or gone away."""
    keys = {key_of(resource)}
    match resource:
        case AudioBatchJob() | MacAgent():
            keys.add(PLACEMENT)
        case AudioShard():
            keys |= _keys_of_shard(resource)
        case VoiceContract():
            keys |= {
                key_of(job)
                for job in cache.all(AudioBatchJob, resource.metadata.namespace)
                if job.spec.contract_ref.name == resource.metadata.name
            }
    return keys


def keys_of_mac_change(mac: str, shard_uids: Iterable[str], cache: Cache) -> set[Key]:
    """The keys to reconcile after a Mac's view has changed, and with it what the Mac says about some shards."""
    keys = {Key(MacAgent.crd.kind, "", mac), PLACEMENT}
    for uid in shard_uids:
        shard = cache.by_uid(AudioShard, uid)
        if shard is not None:
            keys |= {key_of(shard), *_keys_of_shard(shard)}
    return keys


def all_keys(cache: Cache) -> set[Key]:
    """Every key, for a process that has become the leader."""
    kinds: tuple[type[Resource], ...] = (VoiceContract, AudioBatchJob, AudioShard, MacAgent)
    return {PLACEMENT} | {key_of(resource) for kind in kinds for resource in cache.all(kind)}


def _keys_of_shard(shard: AudioShard) -> set[Key]:
    return {PLACEMENT, Key(AudioBatchJob.crd.kind, shard.metadata.namespace, shard.spec.job_ref.name)}
