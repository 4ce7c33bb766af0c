"""Why jobs cannot run on Macs, judged once for all Macs that are alike and all jobs that need the same. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from voxfleet_operator.placement.filters import static_reason
from voxfleet_operator.placement.snapshot import MacSlot, PlacementJob, ShardDemand, Unavailable
from voxfleet_operator.reconcile.namespace_access import covers, open_prefixes

Reasons = tuple[Unavailable | None, ...]
"""Why a job can never run on the Macs of each group; None: it can."""
NamespaceLabels = Mapping[str, Mapping[str, str]]


class AlikeMacs:
    """Some Macs in groups. A group's Macs share their traits and all labels that jobs select by.

    It remembers what it judged, and holds for as long as traits, labels and what jobs select by stay the same. Traits,
    needs and jobs are told apart by identity: whoever makes them makes equal ones once.
    """

    def __init__(self, macs: Sequence[MacSlot], selected: Iterable[str], namespace_labels: NamespaceLabels) -> None:
        """`selected`: the labels that any job asked about selects by."""
        self._macs = tuple(macs)
        self._selected = frozenset(selected)
        self._namespace_labels = namespace_labels
        keys = sorted(self._selected)
        found: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for place, mac in enumerate(macs):
            found[id(mac.traits), *[mac.labels.get(key) for key in keys]].append(place)
        self.groups = tuple(tuple(places) for places in found.values())
        """The places of each group's Macs among all."""
        self._first = tuple(macs[places[0]] for places in self.groups)
        self._opened: dict[str, tuple[tuple[str, ...], ...]] = {}
        """By namespace: the prefixes that the Macs of each group open to it."""
        self._of_jobs: dict[tuple[str, bool, bool], tuple[PlacementJob, Reasons]] = {}
        self._of_needs: dict[tuple[object, ...], Reasons] = {}

    def __len__(self) -> int:
        """How many judgements it remembers."""
        return len(self._of_jobs)

    def holds(self, macs: Sequence[MacSlot], selected: Iterable[str], namespace_labels: NamespaceLabels) -> bool:
        """Whether these Macs are in the same groups and open the same."""
        return (
            len(macs) == len(self._macs)
            and all(
                new is old or (new.traits is old.traits and new.labels is old.labels and new.name == old.name)
                for new, old in zip(macs, self._macs, strict=True)
            )
            and self._selected.issuperset(selected)
            and self._namespace_labels == namespace_labels
        )

    def reasons(self, job: PlacementJob, demand: ShardDemand) -> Reasons:
        key = (job.uid, demand.needs_lane, demand.is_piece)
        known = self._of_jobs.get(key)
        if known is not None and known[0] is job:
            return known[1]
        found = self._of_needs_alike(job, demand)
        self._of_jobs[key] = job, found
        return found

    def _of_needs_alike(self, job: PlacementJob, demand: ShardDemand) -> Reasons:
        opened = self._opened.get(job.namespace)
        if opened is None:
            labels = self._namespace_labels.get(job.namespace, {})
            opened = tuple(open_prefixes(mac.traits.access, labels) for mac in self._first)
            self._opened[job.namespace] = opened
        covered = {prefixes: covers(prefixes, job.uris) for prefixes in set(opened)}
        access = tuple([covered[prefixes] for prefixes in opened])
        key = (id(job.needs), access, demand.needs_lane, demand.is_piece)
        found = self._of_needs.get(key)
        if found is None:
            found = self._of_needs[key] = tuple(
                static_reason(job.needs, mac.traits, mac.labels, demand, has_access=has_access)
                for mac, has_access in zip(self._first, access, strict=True)
            )
        return found
