"""Decides one placement pass: filters, then scores, in an order that is fair between namespaces. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import replace

from voxfleet_operator.placement.candidates import Macs
from voxfleet_operator.placement.order import NamespaceTurns, ready_queues
from voxfleet_operator.placement.snapshot import (
    Assignment,
    MacSlot,
    PendingShard,
    PlacementJob,
    PlacementPlan,
    PlacementSnapshot,
)


def place(snapshot: PlacementSnapshot, now: float) -> PlacementPlan:
    """Assigns what fits. The same snapshot and `now` (monotonic seconds) always give the same plan."""
    return _PlacementPass(snapshot, now).run()


class _PlacementPass:
    def __init__(self, snapshot: PlacementSnapshot, now: float) -> None:
        self._now = now
        self._snapshot = snapshot
        self._macs = Macs(snapshot, now)
        self._job_lanes: Counter[str] = Counter()
        self._begun: dict[str, PlacementJob] = {}
        """The homogeneous jobs whose chip this pass has fixed."""
        self._assignments: list[Assignment] = []
        self._pending: dict[str, str] = {}

    def run(self) -> PlacementPlan:
        queues = ready_queues(self._snapshot.shards, self._now)
        turns = NamespaceTurns(queues, self._snapshot.standings)
        while (namespace := turns.take()) is not None:
            placed = self._place_next(queues[namespace])
            if placed is not None:
                turns.again(namespace, lanes=int(placed.needs_lane))
        return PlacementPlan(tuple(self._assignments), self._pending, self._wake_after())

    def _place_next(self, queue: deque[PendingShard]) -> PendingShard | None:
        """Places the first shard in the queue that fits somewhere, and drops those before it."""
        while queue:
            shard = queue.popleft()
            if not self._within_parallelism(shard):
                continue
            mac = self._choose(shard)
            if mac is not None:
                self._assign(shard, mac)
                return shard
        return None

    def _within_parallelism(self, shard: PendingShard) -> bool:
        job = shard.job
        return not _takes_new_lane(shard) or job.live_lanes + self._job_lanes[job.uid] < job.parallelism

    def _choose(self, shard: PendingShard) -> MacSlot | None:
        job = self._begun.get(shard.job.uid, shard.job)
        candidates = self._macs.candidates(job, shard)
        avoid = candidates.to_avoid(shard.avoid)
        if shard.needs_lane and job.requirements.homogeneous and job.chip is None:
            mac = candidates.best_of_commonest_chip(job.model_digest, avoid)
            if mac is not None:
                self._begun[job.uid] = replace(job, chip=mac.chip)
        else:
            mac = candidates.best(job.model_digest, avoid)
        if mac is None:
            self._pending.setdefault(job.uid, candidates.pending_reason(avoid))
        return mac

    def _assign(self, shard: PendingShard, mac: MacSlot) -> None:
        self._macs.take_room(mac, needs_lane=shard.needs_lane)
        if _takes_new_lane(shard):
            self._job_lanes[shard.job.uid] += 1
        self._assignments.append(Assignment(shard.uid, shard.next_attempt, mac.name))

    def _wake_after(self) -> float | None:
        placed = {assignment.shard_uid for assignment in self._assignments}
        pauses = [shard.not_before_seconds for shard in self._snapshot.shards if shard.uid not in placed]
        if not pauses:
            return None
        hours = (moment for mac in self._snapshot.macs for moment in (mac.opens_seconds, mac.closes_seconds))
        return _first_after(
            self._now,
            [
                *pauses,
                *(mac.not_before_seconds for mac in self._snapshot.macs),
                *(moment for moment in hours if moment is not None),
            ],
        )


def _takes_new_lane(shard: PendingShard) -> bool:
    """Whether its attempt holds a lane that its job's lane count does not include yet."""
    return shard.needs_lane and not shard.replaces_lost


def _first_after(now: float, instants: Iterable[float]) -> float | None:
    return min((instant - now for instant in instants if instant > now), default=None)
