"""The Macs that can run a job, the best ones first, as their room shrinks during a pass. Pure.

Macs that are alike are judged together, and shards that fit the same Macs share one queue of them. So a pass asks about
every Mac a few times, and not once for each shard.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import cached_property
from heapq import heapify, heappop, heappush, heapreplace
from itertools import chain
from operator import attrgetter

from voxfleet_operator.placement.alike_macs import AlikeMacs, Reasons
from voxfleet_operator.placement.filters import JUST_FAILED, capacity_reason, summed_up
from voxfleet_operator.placement.snapshot import (
    JobNeeds,
    MacSlot,
    PlacementJob,
    PlacementSnapshot,
    ShardDemand,
    Unavailable,
)

_Room = tuple[int, int]
"""Lower is better: minus the room that is left, the Mac's place by name."""


def selected_labels(needs: Iterable[JobNeeds]) -> frozenset[str]:
    """All labels of Macs that jobs select by."""
    distinct = {id(item): item for item in needs}.values()
    return frozenset[str]().union(*(item.mac_selector.keys for item in distinct))


class Macs:
    """All Macs of a pass, in the order of their names, and what is left of their room."""

    def __init__(self, snapshot: PlacementSnapshot, now: float, alike: AlikeMacs | None = None) -> None:
        """`alike`: the Macs in the order of their names, if somebody remembers what was judged of them."""
        self.by_name = tuple(sorted(snapshot.macs, key=attrgetter("name")))
        self.now = now
        self._places = {mac.name: place for place, mac in enumerate(self.by_name)}
        self._lanes = [mac.free_lanes for mac in self.by_name]
        self._control_slots = [mac.free_control_slots for mac in self.by_name]
        if alike is None:
            selected = selected_labels(shard.job.needs for shard in snapshot.shards)
            alike = AlikeMacs(self.by_name, selected, snapshot.namespace_labels)
        self.alike = alike
        self._open_places: dict[bool, tuple[tuple[int, ...], ...]] = {}
        """By whether a lane is needed: the places of each group that had room when it was first asked for."""
        self._without_room: dict[ShardDemand, tuple[Counter[Unavailable], ...]] = {}
        self._holders: dict[str, frozenset[int]] | None = None
        self._by_reasons: dict[tuple[int, ShardDemand], Candidates] = {}

    def room(self, *, needs_lane: bool) -> list[int]:
        """The lanes, or the control slots, that are left of each Mac."""
        return self._lanes if needs_lane else self._control_slots

    def place_of(self, mac: MacSlot) -> int:
        return self._places[mac.name]

    def take_room(self, mac: MacSlot, *, needs_lane: bool) -> None:
        self.room(needs_lane=needs_lane)[self._places[mac.name]] -= 1

    def candidates(self, job: PlacementJob, demand: ShardDemand) -> Candidates:
        """`job`: as this pass knows it by now."""
        reasons = self.alike.reasons(job, demand)
        key = (id(reasons), demand)
        found = self._by_reasons.get(key)
        if found is None:
            found = self._by_reasons[key] = Candidates(self, reasons, demand)
        return found

    def open_places(self, *, needs_lane: bool) -> tuple[tuple[int, ...], ...]:
        """Of each group, the Macs that have room and do not pause. None gets more room during a pass."""
        found = self._open_places.get(needs_lane)
        if found is None:
            room = self.room(needs_lane=needs_lane)
            has_room = [
                left > 0 and mac.not_before_seconds <= self.now for left, mac in zip(room, self.by_name, strict=True)
            ]
            found = tuple(tuple(place for place in places if has_room[place]) for places in self.alike.groups)
            self._open_places[needs_lane] = found
        return found

    def without_room(self, demand: ShardDemand) -> tuple[Counter[Unavailable], ...]:
        """Of each group, why its Macs take no such shard once they have no room left."""
        found = self._without_room.get(demand)
        if found is None:
            refusals = [capacity_reason(demand, mac, 0, self.now) for mac in self.by_name]
            found = self._without_room[demand] = tuple(
                Counter(filter(None, (refusals[place] for place in places))) for places in self.alike.groups
            )
        return found

    def holders(self, model_digest: str | None) -> frozenset[int]:
        """The places of the Macs that have the model in memory."""
        if self._holders is None:
            found: dict[str, set[int]] = defaultdict(set)
            for place, mac in enumerate(self.by_name):
                for digest in mac.loaded_models:
                    found[digest].add(place)
            self._holders = {digest: frozenset(places) for digest, places in found.items()}
        return frozenset() if model_digest is None else self._holders.get(model_digest, frozenset())


class Candidates:
    """The Macs for shards that fit the same ones. Room only shrinks during a pass, so no Mac gets better."""

    def __init__(self, macs: Macs, reasons: Reasons, demand: ShardDemand) -> None:
        """`reasons`: why the Macs of each group can never run these shards."""
        self._all = macs
        self._macs = macs.by_name
        self._left = macs.room(needs_lane=demand.needs_lane)
        self._reasons = reasons
        self._demand = demand
        opened = macs.open_places(needs_lane=demand.needs_lane)
        places = chain.from_iterable(
            places for places, reason in zip(opened, reasons, strict=True) if reason is None and places
        )
        self._open = [
            place for place in places if capacity_reason(demand, self._macs[place], self._left[place], macs.now) is None
        ]
        """Those that had room when they were looked at."""
        self.exhausted = not self._open
        """Whether none has room for the rest of the pass."""
        self._heaps: dict[tuple[str | None, str | None], list[_Room]] = {}
        """By model digest and chip."""
        self._texts: dict[str | None, str] = {}

    def to_avoid(self, mac: str) -> str | None:
        """The Mac that just failed a shard, unless it is the only one that could ever run it."""
        if all(self._macs[place].name == mac for place in self._fitting()):
            return None
        return mac

    def best(self, model_digest: str | None, avoid: str | None, chip: str | None = None) -> MacSlot | None:
        """Prefers a Mac with the model in memory, then the one with the most room, then the first by name.

        `chip`: of the Macs with this chip.
        """
        found = None if model_digest is None else self._roomiest(model_digest, chip, avoid)
        if found is None:
            found = self._roomiest(None, chip, avoid)
        if found is None and avoid is None and chip is None:
            self.exhausted = True
        return found

    def best_of_commonest_chip(self, model_digest: str | None, avoid: str | None) -> MacSlot | None:
        """For a job that stays on one chip: the chip comes first of all that most Macs have which could run it."""
        holders = self._all.holders(model_digest)
        for chips in self._chips:
            found = [mac for chip in chips if (mac := self.best(model_digest, avoid, chip)) is not None]
            if found:
                places = [self._all.place_of(mac) for mac in found]
                return self._macs[min((place not in holders, -self._left[place], place) for place in places)[-1]]
        return None

    def pending_reason(self, avoid: str | None) -> str:
        """Why none of the Macs takes a shard now. What has no room has none for the rest of the pass, either."""
        if avoid not in self._texts:
            counts: Counter[Unavailable] = Counter()
            explained: dict[Unavailable, MacSlot] = {}
            full = self._all.without_room(self._demand)
            for group, (places, reason) in enumerate(zip(self._all.alike.groups, self._reasons, strict=True)):
                if reason is None:
                    counts.update(full[group])
                    continue
                counts[reason] += len(places)
                traits = self._macs[places[0]].traits
                if reason in (traits.unavailable, traits.unaccepted):
                    told = next((self._macs[place] for place in places if self._macs[place].detail), None)
                    if told is not None and (reason not in explained or told.name < explained[reason].name):
                        explained[reason] = told
            if avoid is not None:
                self._tell_avoided(avoid, counts)
            self._texts[avoid] = summed_up(counts, explained, len(self._macs))
        return self._texts[avoid]

    def _tell_avoided(self, avoid: str, counts: Counter[Unavailable]) -> None:
        avoided = next((place for place in self._fitting() if self._macs[place].name == avoid), None)
        if avoided is not None:
            counts.subtract(filter(None, [capacity_reason(self._demand, self._macs[avoided], 0, self._all.now)]))
            counts[JUST_FAILED] += 1

    @cached_property
    def _chips(self) -> list[list[str]]:
        """The chips of the Macs that fit: those that equally many have stand together, the commonest come first."""
        counts = Counter(self._macs[place].traits.chip for place in self._fitting())
        by_count: dict[int, list[str]] = defaultdict(list)
        for chip, count in counts.items():
            by_count[count].append(chip)
        return [by_count[count] for count in sorted(by_count, reverse=True)]

    def _fitting(self) -> chain[int]:
        """The places of all Macs that could run the shards, if they had room."""
        groups = self._all.alike.groups
        return chain.from_iterable(
            places for places, reason in zip(groups, self._reasons, strict=True) if reason is None
        )

    def _roomiest(self, model_digest: str | None, chip: str | None, avoid: str | None) -> MacSlot | None:
        """Of the Macs with the model in memory and with the chip; None: of all."""
        heap, left = self._heap(model_digest, chip), self._left
        avoided: _Room | None = None
        while heap:
            room, place = heap[0]
            if left[place] < 1:
                heappop(heap)
            elif left[place] != -room:
                heapreplace(heap, (-left[place], place))
            elif avoid is not None and self._macs[place].name == avoid:
                avoided = heappop(heap)
            else:
                break
        best = self._macs[heap[0][1]] if heap else None
        if avoided is not None:
            heappush(heap, avoided)
        return best

    def _heap(self, model_digest: str | None, chip: str | None) -> list[_Room]:
        heap = self._heaps.get((model_digest, chip))
        if heap is None:
            places = self._open
            if model_digest is not None:
                holders = self._all.holders(model_digest)
                places = [place for place in places if place in holders]
            heap = [
                (-self._left[place], place) for place in places if chip is None or self._macs[place].traits.chip == chip
            ]
            heapify(heap)
            self._heaps[model_digest, chip] = heap
        return heap
