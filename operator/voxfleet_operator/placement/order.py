"""The order in which shards get lanes: fair between namespaces, oldest job first within one. Pure."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping

from voxfleet_operator.placement.snapshot import PendingShard

NamespaceQueues = dict[str, deque[PendingShard]]


def ready_queues(shards: Iterable[PendingShard], now: float) -> NamespaceQueues:
    """Shards that do not pause, by namespace, each namespace's in the order in which they get lanes."""
    queues: NamespaceQueues = defaultdict(deque)
    for shard in sorted(shards, key=_order_within_namespace):
        if shard.not_before_seconds <= now:
            queues[shard.job.namespace].append(shard)
    return dict(queues)


def next_namespace(namespaces: Iterable[str], held_lanes: Mapping[str, int]) -> str:
    """The namespace that holds the fewest lanes, so that none has to wait until all work of another one is done."""
    return min(namespaces, key=lambda name: (held_lanes[name], name))


def _order_within_namespace(shard: PendingShard) -> tuple[str, str, int, str]:
    """Older jobs first, then a job's shards by number."""
    return (shard.job.created, shard.job.name, shard.ordinal, shard.name)
