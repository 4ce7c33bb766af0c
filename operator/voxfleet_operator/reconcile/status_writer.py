"""The writes that reconcilers share.

Each checks leadership first and puts the answer into the cache, so that the next decision sees it. A change of
conditions is told in events here and nowhere else, and what ended is counted.
"""

from __future__ import annotations

import json
from typing import TypeVar

from voxfleet_api.base import StatusModel
from voxfleet_api.kinds import AudioBatchJob, AudioShard, Resource
from voxfleet_operator.kube_errors import Conflict, NotFound
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.counted_writes import count_write
from voxfleet_operator.reconcile.transitions import conditions_of, shard_transitions, transitions

R = TypeVar("R", bound=Resource)


async def write_status(context: Context, resource: R, status: StatusModel) -> R | None:
    """Writes only if the status differs, and only to the very version that was decided on.

    None means that the object has changed meanwhile: the cache now holds the newer one, and the caller decides again.
    """
    if not differs(resource.status, status):
        return resource
    metadata = resource.metadata
    context.leader.check()
    try:
        written = await context.api.apply_status(
            type(resource), metadata.namespace, metadata.name, status.dump(), metadata.resource_version
        )
    except (Conflict, NotFound):
        await read_again(context, resource)
        return None
    observe(context, written)
    _announce(context, resource, written)
    count_write(context.metrics, resource, written)
    return written


async def write_finalizers(context: Context, resource: R, finalizers: list[str]) -> R | None:
    """Like `write_status`; also returns None when the object is gone."""
    metadata = resource.metadata
    context.leader.check()
    try:
        written = await context.api.set_finalizers(
            type(resource), metadata.namespace, metadata.name, finalizers, metadata.resource_version
        )
    except (Conflict, NotFound):
        await read_again(context, resource)
        return None
    observe(context, written)
    return written


async def read_again(context: Context, resource: R) -> None:
    """Updates the cache with one live read."""
    metadata = resource.metadata
    found = await context.api.get(type(resource), metadata.namespace, metadata.name)
    if found is None or found.metadata.uid != metadata.uid:
        context.cache.remove(resource)
    if found is not None:
        observe(context, found)


def observe(context: Context, resource: Resource) -> None:
    """Puts an object that was just read or written into the cache and queues the keys that it concerns."""
    if context.cache.put(resource):
        for key in context.triggers.keys_of_change(resource, context.cache):
            context.queue.add(key)


def _announce(context: Context, before: Resource, after: Resource) -> None:
    about, told = after, transitions(conditions_of(before), conditions_of(after))
    if isinstance(before, AudioShard) and isinstance(after, AudioShard):
        job = context.cache.by_uid(AudioBatchJob, after.spec.job_ref.uid)
        if job is None:
            return
        about, told = job, shard_transitions(before, after)
    for item in told:
        context.events.publish(about, item.reason, item.note)


def differs(old: StatusModel, new: StatusModel) -> bool:
    """Whether a write would change anything. The order of lists does not count: the server may keep another one."""
    changed = {name for name, value in new if value != getattr(old, name)}
    return bool(changed) and not _same(_json_of(old, changed), _json_of(new, changed))


def _json_of(status: StatusModel, fields: set[str]) -> object:
    return status.model_dump(mode="json", by_alias=True, exclude_none=True, include=fields)


def _same(one: object, other: object) -> bool:
    """Compares JSON. Lists are put in order only where they differ as they are."""
    if one == other:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(item, other[name]) for name, item in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and sorted(map(_ordered_text, one)) == sorted(map(_ordered_text, other))
    return False


def _ordered_text(value: object) -> str:
    return json.dumps(_ordered(value), sort_keys=True)


def _ordered(value: object) -> object:
    if isinstance(value, dict):
        return {name: _ordered(item) for name, item in value.items()}
    if isinstance(value, list):
        return sorted(map(_ordered, value), key=_ordered_text)
    return value
