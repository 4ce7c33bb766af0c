"""The Macs that can run a job, the best ones first, as their room shrinks during a pass. Pure.

Macs that are alike are judged together, and shards that fit the same Macs share one queue of them. So a pass asks about
every Mac a few times, and not once for each shard.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import fields
from heapq import heapify, heappop, heappush, heapreplace

from voxfleet_operator.placement.filters import JUST_FAILED, capacity_reason, pending_reason, static_reason
from voxfleet_operator.placement.snapshot import (
    MacSlot,
    PendingShard,
    PlacementJob,
    PlacementSnapshot,
    Unavailable,
)
from voxfleet_operator.reconcile.namespace_access import covers, open_prefixes

UNJUDGED: dict[type[MacSlot | PendingShard | PlacementJob], frozenset[str]] = {
    MacSlot: frozenset(
        {
            "name",
            "detail",
            "labels",
            "free_lanes",
            "free_control_slots",
            "not_before_seconds",
            "loaded_models",
            "opens_seconds",
        }
    ),
    PlacementJob: frozenset(
        {
            "uid",
            "namespace",
            "name",
            "created",
            "uris",
            "parallelism",
            "priority",
            "live_lanes",
            "model_digest",
        }
    ),
    PendingShard: frozenset(
        {
            "uid",
            "name",
            "job",
            "stage",
            "ordinal",
            "next_attempt",
            "avoid",
            "not_before_seconds",
            "replaces_lost",
            "waits_since",
        }
    ),
}
"""Fields that make no difference to whether a Mac with room can run a job: all others do. A job's addresses count as
what Macs open of them, and of a Mac's labels only those count that some selector looks at."""

_Score = tuple[bool, int, int]
"""Lower is better: whether the model has to be loaded, minus the room that is left, the Mac's place by name."""
_Reasons = tuple[Unavailable | None, ...]


def _judged(kind: type[MacSlot | PendingShard | PlacementJob]) -> Callable[[object], tuple[Hashable, ...]]:
    names = [item.name for item in fields(kind) if item.name not in UNJUDGED[kind]]
    return lambda item: tuple([getattr(item, name) for name in names])


_TRAITS_OF, _NEEDS_OF, _DEMAND_OF = _judged(MacSlot), _judged(PlacementJob), _judged(PendingShard)


class Macs:
    """All Macs of a pass, in the order of their names, and what is left of their room."""

    def __init__(self, snapshot: PlacementSnapshot, now: float) -> None:
        self.by_name = tuple(sorted(snapshot.macs, key=lambda mac: mac.name))
        self.now = now
        self._labels = snapshot.namespace_labels
        self._places = {mac.name: place for place, mac in enumerate(self.by_name)}
        self._lanes = [mac.free_lanes for mac in self.by_name]
        self._control_slots = [mac.free_control_slots for mac in self.by_name]
        jobs = {shard.job.uid: shard.job for shard in snapshot.shards}
        self._alike = self._grouped({job.mac_selector.keys for job in jobs.values()})
        self._open: dict[str, tuple[tuple[str, ...], ...]] = {}
        """By namespace: the prefixes that the Macs of each group open to it."""
        self._reasons: dict[Hashable, _Reasons] = {}
        self._by_reasons: dict[Hashable, Candidates] = {}
        self._by_job: dict[Hashable, Candidates] = {}

    def room(self, *, needs_lane: bool) -> list[int]:
        """The lanes, or the control slots, that are left of each Mac."""
        return self._lanes if needs_lane else self._control_slots

    def take_room(self, mac: MacSlot, *, needs_lane: bool) -> None:
        self.room(needs_lane=needs_lane)[self._places[mac.name]] -= 1

    def candidates(self, job: PlacementJob, shard: PendingShard) -> Candidates:
        """`job` is the shard's, as this pass knows it by now."""
        known = (job.uid, job.chip, shard.needs_lane, _DEMAND_OF(shard))
        found = self._by_job.get(known)
        if found is None:
            found = self._by_job[known] = self._shared(self._static_reasons(job, shard), shard)
        return found

    def _shared(self, reasons: _Reasons, shard: PendingShard) -> Candidates:
        key = (reasons, shard.needs_lane, _DEMAND_OF(shard))
        found = self._by_reasons.get(key)
        if found is None:
            found = self._by_reasons[key] = Candidates(self, self._by_place(reasons), shard)
        return found

    def _grouped(self, selected: Iterable[frozenset[str]]) -> tuple[tuple[int, ...], ...]:
        """The places of Macs that are alike."""
        keys = frozenset[str]().union(*selected)
        found: dict[Hashable, list[int]] = defaultdict(list)
        for place, mac in enumerate(self.by_name):
            labels = frozenset((key, mac.labels[key]) for key in keys if key in mac.labels)
            found[labels, _TRAITS_OF(mac)].append(place)
        return tuple(tuple(places) for places in found.values())

    def _static_reasons(self, job: PlacementJob, shard: PendingShard) -> _Reasons:
        """Why the job's shards that need as much as this one cannot run on the Macs of each group."""
        access, needs_lane, is_piece = self._access(job), shard.needs_lane, shard.is_piece
        key = (_NEEDS_OF(job), access, needs_lane, is_piece)
        found = self._reasons.get(key)
        if found is None:
            found = self._reasons[key] = tuple(
                static_reason(
                    job, self.by_name[places[0]], has_access=has_access, needs_lane=needs_lane, is_piece=is_piece
                )
                for places, has_access in zip(self._alike, access, strict=True)
            )
        return found

    def _access(self, job: PlacementJob) -> tuple[bool, ...]:
        """Whether the Macs of each group open the job's addresses to its namespace."""
        opened = self._open.get(job.namespace)
        if opened is None:
            labels = self._labels.get(job.namespace, {})
            opened = self._open[job.namespace] = tuple(
                open_prefixes(self.by_name[places[0]].access, labels) for places in self._alike
            )
        covered = {prefixes: covers(prefixes, job.uris) for prefixes in set(opened)}
        return tuple([covered[prefixes] for prefixes in opened])

    def _by_place(self, reasons: _Reasons) -> list[Unavailable | None]:
        found: list[Unavailable | None] = [None] * len(self.by_name)
        for places, reason in zip(self._alike, reasons, strict=True):
            for place in places:
                found[place] = reason
        return found


class Candidates:
    """The Macs for shards that fit the same ones. Room only shrinks during a pass, so no Mac gets better."""

    def __init__(self, macs: Macs, reasons: list[Unavailable | None], shard: PendingShard) -> None:
        """`reasons`: why a Mac can never run these shards, by the Macs' places. `shard`: one of them."""
        self._macs = macs.by_name
        self._now = macs.now
        self._left = macs.room(needs_lane=shard.needs_lane)
        self._reasons = reasons
        self._shard = shard
        self._fitting = [place for place, reason in enumerate(reasons) if reason is None]
        self._heaps: dict[str | None, list[_Score]] = {}
        self._texts: dict[str | None, str] = {}

    def to_avoid(self, mac: str | None) -> str | None:
        """The Mac that just failed a shard, unless it is the only one that could ever run it."""
        if mac is None or all(self._macs[place].name == mac for place in self._fitting):
            return None
        return mac

    def best(self, model_digest: str | None, avoid: str | None) -> MacSlot | None:
        """Prefers a Mac with the model in memory, then the one with the most room, then the first by name."""
        heap, left = self._heap(model_digest), self._left
        avoided: _Score | None = None
        while heap:
            loads, room, place = heap[0]
            if left[place] < 1:
                heappop(heap)
            elif left[place] != -room:
                heapreplace(heap, (loads, -left[place], place))
            elif self._macs[place].name == avoid:
                avoided = heappop(heap)
            else:
                break
        best = self._macs[heap[0][2]] if heap else None
        if avoided is not None:
            heappush(heap, avoided)
        return best

    def best_of_commonest_chip(self, model_digest: str | None, avoid: str | None) -> MacSlot | None:
        """For a job that stays on one chip: the chip comes first of all that most Macs have which could run it."""
        if self.best(model_digest, avoid) is None:
            return None
        chips = Counter(self._macs[place].chip for place in self._fitting)
        scores = [
            (-chips[self._macs[place].chip], self._score(place, model_digest))
            for place in self._fitting
            if self._has_room(place) and self._macs[place].name != avoid
        ]
        return self._macs[min(scores)[1][2]]

    def pending_reason(self, avoid: str | None) -> str:
        """Why none of the Macs takes a shard now. What has no room has none for the rest of the pass, either."""
        if avoid not in self._texts:
            refusals = ((mac, self._refusal(place, avoid)) for place, mac in enumerate(self._macs))
            known = ((mac, reason) for mac, reason in refusals if reason is not None)
            self._texts[avoid] = pending_reason(known, len(self._macs))
        return self._texts[avoid]

    def _refusal(self, place: int, avoid: str | None) -> Unavailable | None:
        reason = self._reasons[place]
        if reason is not None:
            return reason
        return JUST_FAILED if self._macs[place].name == avoid else self._capacity_reason(place)

    def _heap(self, model_digest: str | None) -> list[_Score]:
        heap = self._heaps.get(model_digest)
        if heap is None:
            heap = [self._score(place, model_digest) for place in self._fitting if self._has_room(place)]
            heapify(heap)
            self._heaps[model_digest] = heap
        return heap

    def _score(self, place: int, model_digest: str | None) -> _Score:
        return (model_digest not in self._macs[place].loaded_models, -self._left[place], place)

    def _has_room(self, place: int) -> bool:
        return self._capacity_reason(place) is None

    def _capacity_reason(self, place: int) -> Unavailable | None:
        return capacity_reason(self._shard, self._macs[place], self._left[place], self._now)
