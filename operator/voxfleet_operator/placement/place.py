"""Decides one placement pass: filters, then scores, in an order that is fair between namespaces. Pure."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

from voxfleet_operator.placement.filters import (
    JUST_FAILED,
    capacity_reason,
    pending_reason,
    static_reason,
)
from voxfleet_operator.placement.order import next_namespace, ready_queues
from voxfleet_operator.placement.snapshot import (
    Assignment,
    MacSlot,
    PendingShard,
    PlacementPlan,
    PlacementSnapshot,
    Unavailable,
)


def place(snapshot: PlacementSnapshot, now: float) -> PlacementPlan:
    """Assigns what fits. The same snapshot and `now` (monotonic seconds) always give the same plan."""
    return _PlacementPass(snapshot, now).run()


class _PlacementPass:
    def __init__(self, snapshot: PlacementSnapshot, now: float) -> None:
        self._now = now
        self._snapshot = snapshot
        self._macs = tuple(sorted(snapshot.macs, key=lambda mac: mac.name))
        self._lanes = {mac.name: mac.free_lanes for mac in self._macs}
        self._control_slots = {mac.name: mac.free_control_slots for mac in self._macs}
        self._job_lanes: dict[str, int] = {}
        self._job_macs: dict[tuple[str, str], int] = defaultdict(int)
        self._static: dict[tuple[str, str], Unavailable | None] = {}
        self._refused_groups: dict[tuple[str, bool, str | None, bool], str] = {}
        self._assignments: list[Assignment] = []
        self._pending: dict[str, str] = {}

    def run(self) -> PlacementPlan:
        queues = ready_queues(self._snapshot.shards, self._now)
        held = {namespace: self._snapshot.held_lanes.get(namespace, 0) for namespace in queues}
        while queues:
            namespace = next_namespace(queues, held)
            placed = self._place_next(queues[namespace])
            if placed is None:
                del queues[namespace]
            elif placed.needs_lane:
                held[namespace] += 1
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
        if not shard.needs_lane or shard.replaces_lost:
            return True
        return self._job_lanes.setdefault(shard.job.uid, shard.job.live_lanes) < shard.job.parallelism

    def _choose(self, shard: PendingShard) -> MacSlot | None:
        group = (shard.job.uid, shard.needs_lane, shard.avoid, shard.is_piece)
        if group not in self._refused_groups:
            refusals: list[tuple[MacSlot, Unavailable]] = []
            fitting: list[MacSlot] = []
            avoid = self._avoided(shard)
            for mac in self._macs:
                reason = self._refusal(shard, mac, avoid)
                if reason is None:
                    fitting.append(mac)
                else:
                    refusals.append((mac, reason))
            if fitting:
                return min(fitting, key=lambda mac: self._score(shard, mac))
            # Room only shrinks during a pass: a shard like this one will not fit later, either.
            self._refused_groups[group] = pending_reason(refusals, len(self._macs))
        self._pending.setdefault(shard.job.uid, self._refused_groups[group])
        return None

    def _avoided(self, shard: PendingShard) -> str | None:
        """The Mac that just failed this shard, unless it is the only one that could ever run it."""
        if shard.avoid is None:
            return None
        others = (mac for mac in self._macs if mac.name != shard.avoid)
        return shard.avoid if any(self._static_reason(shard, mac) is None for mac in others) else None

    def _refusal(self, shard: PendingShard, mac: MacSlot, avoid: str | None) -> Unavailable | None:
        reason = self._static_reason(shard, mac)
        if reason is not None:
            return reason
        if mac.name == avoid:
            return JUST_FAILED
        return capacity_reason(shard, mac, self._room(shard)[mac.name], self._now)

    def _static_reason(self, shard: PendingShard, mac: MacSlot) -> Unavailable | None:
        key = (shard.job.uid, mac.name)
        if key not in self._static:
            labels = self._snapshot.namespace_labels.get(shard.job.namespace, {})
            self._static[key] = static_reason(shard.job, mac, labels)
        return self._static[key]

    def _score(self, shard: PendingShard, mac: MacSlot) -> tuple[bool, int, int, str]:
        """Lower is better. Prefers a Mac with the model in memory, then spreads the work.

        The name decides last, so that every tie ends in the same way.
        """
        loaded = shard.job.model_digest is not None and shard.job.model_digest in mac.loaded_models
        return (not loaded, -self._room(shard)[mac.name], self._job_macs[shard.job.uid, mac.name], mac.name)

    def _room(self, shard: PendingShard) -> dict[str, int]:
        return self._lanes if shard.needs_lane else self._control_slots

    def _assign(self, shard: PendingShard, mac: MacSlot) -> None:
        self._room(shard)[mac.name] -= 1
        self._job_macs[shard.job.uid, mac.name] += 1
        if shard.needs_lane and not shard.replaces_lost:
            self._job_lanes[shard.job.uid] += 1
        self._assignments.append(Assignment(shard.uid, shard.next_attempt, mac.name))

    def _wake_after(self) -> float | None:
        placed = {assignment.shard_uid for assignment in self._assignments}
        waiting = [shard for shard in self._snapshot.shards if shard.uid not in placed]
        if not waiting:
            return None
        return _first_after(
            self._now,
            [shard.not_before_seconds for shard in waiting] + [mac.not_before_seconds for mac in self._macs],
        )


def _first_after(now: float, instants: Iterable[float]) -> float | None:
    return min((instant - now for instant in instants if instant > now), default=None)
