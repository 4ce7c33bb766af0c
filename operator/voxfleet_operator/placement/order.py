"""The order in which shards get lanes: fair between namespaces, then by priority, then by age. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from heapq import heapify, heappop, heappush
from operator import attrgetter

from voxfleet_operator.placement.snapshot import NamespaceStanding, PendingShard, PlacementJob

LANE_SECONDS = 600.0
"""What a lane counts for as soon as it is given: what its attempt will probably use."""
LONGEST_WAIT_SECONDS = 3600.0
"""After so long without a lane, a namespace's turn comes whatever it has used before."""

NamespaceQueues = dict[str, deque[PendingShard]]
_Turn = tuple[float, float, str]


def ready_queues(shards: Iterable[PendingShard], now: float) -> NamespaceQueues:
    """Shards that do not pause, by namespace, each namespace's in the order in which they get lanes."""
    queues: NamespaceQueues = defaultdict(deque)
    for shard in sorted(shards, key=attrgetter("rank")):
        if shard.not_before_seconds <= now:
            queues[shard.job.namespace].append(shard)
    return dict(queues)


class NamespaceTurns:
    """Whose turn it is, and after each lane that was given, whose it is next."""

    def __init__(self, namespaces: Iterable[str], standings: Mapping[str, NamespaceStanding]) -> None:
        self._standings = {name: standings.get(name, NamespaceStanding()) for name in namespaces}
        self._turns = [_turn(name, standing) for name, standing in self._standings.items()]
        heapify(self._turns)

    def take(self) -> str | None:
        """The namespace whose turn it is. It gets no other one before `again`; None if all have had enough."""
        return heappop(self._turns)[2] if self._turns else None

    def again(self, namespace: str, *, lanes: int) -> None:
        """Puts the namespace back, which has been given this many lanes at its turn."""
        standing = self._standings[namespace]
        if lanes:
            standing = replace(
                standing,
                held_lanes=standing.held_lanes + lanes,
                used_seconds=standing.used_seconds + lanes * LANE_SECONDS,
            )
            self._standings[namespace] = standing
        heappush(self._turns, _turn(namespace, standing))


def queue_of_jobs(
    shards: Iterable[PendingShard],
    standings: Mapping[str, NamespaceStanding],
    live_lanes: Mapping[str, int],
    now: float,
) -> list[str]:
    """The UIDs of the jobs that wait for a lane, in the order in which each gets its next one, if all fit anywhere.

    A job that has as many lanes as its parallelism allows waits for none. `live_lanes`: by job UID.
    """
    queues = ready_queues((shard for shard in shards if shard.needs_lane), now)
    turns = NamespaceTurns(queues, standings)
    lanes: Counter[str] = Counter()
    while (namespace := turns.take()) is not None:
        queue = queues[namespace]
        while queue and _has_its_lanes(queue[0].job, live_lanes, lanes):
            queue.popleft()
        if queue:
            lanes[queue.popleft().job.uid] += 1
            turns.again(namespace, lanes=1)
    return list(lanes)


def _has_its_lanes(job: PlacementJob, live_lanes: Mapping[str, int], given: Mapping[str, int]) -> bool:
    return live_lanes.get(job.uid, 0) + given.get(job.uid, 0) >= job.parallelism


def _turn(namespace: str, standing: NamespaceStanding) -> _Turn:
    """Sorts those first that have waited for too long, the longest before the others, then by what they have used.

    The name decides last, so that every tie ends in the same way.
    """
    if standing.held_lanes == 0 and standing.waited_seconds >= LONGEST_WAIT_SECONDS:
        return (-standing.waited_seconds, 0.0, namespace)
    return (0.0, standing.used_seconds / standing.weight, namespace)
