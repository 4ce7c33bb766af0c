"""Why jobs cannot run on Macs, judged once for all Macs that are alike and all jobs that need the same. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from voxfleet_operator.placement.filters import closed_to, static_reason
from voxfleet_operator.placement.snapshot import JobNeeds, MacSlot, PlacementJob, ShardDemand, Unavailable
from voxfleet_operator.reconcile.namespace_access import Opened, opened

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
        self._opened: dict[tuple[str, str | None], tuple[Opened, ...]] = {}
        """By namespace and billing key: the prefixes that the Macs of each group open to them."""
        self._of_jobs: dict[tuple[str, str | None, bool, bool], tuple[JobNeeds, tuple[str, ...], Reasons]] = {}
        # With the needs that are told apart by identity, so that no other ones get theirs.
        self._of_needs: dict[tuple[object, ...], tuple[JobNeeds, Reasons]] = {}
        self._on_chips: dict[tuple[int, str], tuple[JobNeeds, JobNeeds]] = {}

    def __len__(self) -> int:
        """How many judgements it remembers."""
        return len(self._opened) + len(self._of_jobs) + len(self._of_needs) + len(self._on_chips)

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

    def on_chip(self, needs: JobNeeds, chip: str) -> JobNeeds:
        """The needs of a job that has begun on a chip: the same object for all with the same needs before."""
        key = (id(needs), chip)
        known = self._on_chips.get(key)
        if known is None:
            known = self._on_chips[key] = needs, replace(needs, chip=chip)
        return known[1]

    def reasons(self, job: PlacementJob, demand: ShardDemand) -> Reasons:
        needs, uris = job.needs, job.uris
        key = (job.uid, needs.chip, demand.needs_lane, demand.is_piece)
        known = self._of_jobs.get(key)
        if known is not None and known[0] is needs and known[1] is uris:
            return known[2]
        found = self._of_needs_alike(job, demand)
        self._of_jobs[key] = needs, uris, found
        return found

    def _of_needs_alike(self, job: PlacementJob, demand: ShardDemand) -> Reasons:
        purpose = (job.namespace, job.billing_key)
        open_to = self._opened.get(purpose)
        if open_to is None:
            labels = self._namespace_labels.get(job.namespace, {})
            open_to = tuple(opened(mac.traits.access, labels, job.billing_key) for mac in self._first)
            self._opened[purpose] = open_to
        judged = {found: closed_to(found, job.uris) for found in set(open_to)}
        access = tuple([judged[found] for found in open_to])
        key = (id(job.needs), access, demand.needs_lane, demand.is_piece)
        known = self._of_needs.get(key)
        if known is None:
            found = tuple(
                static_reason(job.needs, mac.traits, mac.labels, demand, closed=closed)
                for mac, closed in zip(self._first, access, strict=True)
            )
            known = self._of_needs[key] = job.needs, found
        return known[1]
