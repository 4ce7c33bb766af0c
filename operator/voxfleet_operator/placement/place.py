"""Decides one placement pass: filters, then scores, in an order that is fair between namespaces. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from voxfleet_operator.placement.alike_macs import AlikeMacs
from voxfleet_operator.placement.candidates import Candidates, Macs
from voxfleet_operator.placement.order import NamespaceTurns, ready_queues
from voxfleet_operator.placement.snapshot import (
    Assignment,
    MacSlot,
    PendingShard,
    PlacementJob,
    PlacementPlan,
    PlacementSnapshot,
)


def place(snapshot: PlacementSnapshot, now: float, alike: AlikeMacs | None = None) -> PlacementPlan:
    """Assigns what fits. The same snapshot and `now` (monotonic seconds) always give the same plan.

    `alike`: what was judged of these Macs before, which saves judging it again.
    """
    return _PlacementPass(snapshot, now, alike).run()


class _PlacementPass:
    def __init__(self, snapshot: PlacementSnapshot, now: float, alike: AlikeMacs | None) -> None:
        self._now = now
        self._snapshot = snapshot
        self._macs = Macs(snapshot, now, alike)
        self._job_lanes = dict(snapshot.live_lanes)
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
            job = shard.job
            if _takes_new_lane(shard) and self._job_lanes.get(job.uid, 0) >= job.parallelism:
                continue
            if shard.needs_lane and job.uid in self._snapshot.over_budget:
                self._pending.setdefault(job.uid, self._snapshot.over_budget[job.uid])
                continue
            mac = self._choose(self._begun.get(job.uid, job), shard)
            if mac is not None:
                self._assign(shard, mac)
                return shard
        return None

    def _choose(self, job: PlacementJob, shard: PendingShard) -> MacSlot | None:
        """`job`: the shard's, as this pass knows it by now."""
        candidates = self._macs.candidates(job, shard.demand)
        avoid = None if shard.avoid is None else candidates.to_avoid(shard.avoid)
        mac = None if candidates.exhausted else self._best(job, candidates, shard, avoid)
        if mac is None and job.uid not in self._pending:
            self._pending[job.uid] = candidates.pending_reason(avoid)
        return mac

    def _best(
        self, job: PlacementJob, candidates: Candidates, shard: PendingShard, avoid: str | None
    ) -> MacSlot | None:
        if not (shard.needs_lane and job.needs.requirements.homogeneous and job.needs.chip is None):
            return candidates.best(job.model_digest, avoid)
        mac = candidates.best_of_commonest_chip(job.model_digest, avoid)
        if mac is not None:
            self._begun[job.uid] = replace(job, needs=self._macs.alike.on_chip(job.needs, mac.traits.chip))
        return mac

    def _assign(self, shard: PendingShard, mac: MacSlot) -> None:
        self._macs.take_room(mac, needs_lane=shard.needs_lane)
        if _takes_new_lane(shard):
            uid = shard.job.uid
            self._job_lanes[uid] = self._job_lanes.get(uid, 0) + 1
        self._assignments.append(Assignment(shard.uid, shard.next_attempt, mac.name))

    def _wake_after(self) -> float | None:
        """When the first pause of a shard or a Mac ends, a Mac opens or closes, or budgets begin anew, if any shard is
        left.
        """
        shards, macs, now = self._snapshot.shards, self._snapshot.macs, self._now
        if len(self._assignments) == len(shards):
            return None
        instants = [
            *(shard.not_before_seconds for shard in shards if shard.not_before_seconds > now),
            *(mac.not_before_seconds for mac in macs if mac.not_before_seconds > now),
        ]
        for mac in macs:
            instants += [at for at in (mac.opens_seconds, mac.closes_seconds) if at is not None and at > now]
        if self._snapshot.budgets_renew_seconds is not None:
            instants.append(self._snapshot.budgets_renew_seconds)
        return max(0.0, min(instants) - now) if instants else None


def _takes_new_lane(shard: PendingShard) -> bool:
    """Whether its attempt holds a lane that its job's live lanes do not include yet."""
    return shard.needs_lane and not shard.replaces_lost
