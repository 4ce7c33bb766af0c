"""Which lanes a job may count on: those of all Macs that placement would give it, once they are free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from voxfleet_api.kinds import AudioBatchJob, MacAgent
from voxfleet_api.protocol import ReportedLadder
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_billing.expected_cost import Rented, hourly_price
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.placement.alike_macs import AlikeMacs
from voxfleet_operator.placement.filters import A_LANE
from voxfleet_operator.placement.gather import PlacementGatherer
from voxfleet_operator.placement.snapshot import MacSlot, PlacementJob
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.job_life import halted_condition, is_suspended, takes_attempts
from voxfleet_operator.reconcile.known_ladders import ladders_by_profile
from voxfleet_operator.reconcile.lane_outlook import LaneOutlook
from voxfleet_operator.reconcile.mac.reported_machine import offline_lanes

SHARED_SECONDS = 5.0
"""How long what all jobs share is taken as it was. An estimate need not be newer."""


@dataclass(frozen=True, slots=True)
class _Demand:
    """A job that has work for lanes."""

    uid: str
    namespace: str
    rank: tuple[int, str, str]
    """The lower one gets lanes first: by priority, then by age."""
    left_seconds: float


@dataclass(frozen=True, slots=True)
class _Lanes:
    """Of a group of Macs that are alike."""

    by_profile: Mapping[str, int]
    """By the profile of their Macs' ladders, empty for none."""
    closes_seconds: tuple[float, ...]
    """Of each lane whose Mac has an end in sight."""
    rented: frozenset[Rented]
    """As what their Macs are paid."""

    @classmethod
    def of(cls, macs: Iterable[MacSlot], views: Mapping[str, MacView], rented: Mapping[str, Rented]) -> _Lanes:
        """`rented`: by the name of the Mac."""
        paid: set[Rented] = set()
        by_profile: Counter[str] = Counter()
        closes_seconds: list[float] = []
        for mac in macs:
            facts = views[mac.name].machine if mac.name in views else None
            if facts is None:
                continue
            count = offline_lanes(facts)
            by_profile[facts.ladder_profile or ""] += count
            if mac.name in rented:
                paid.add(rented[mac.name])
            if mac.closes_seconds is not None:
                closes_seconds += [mac.closes_seconds] * count
        return cls(by_profile, tuple(closes_seconds), frozenset(paid))


class _Shared:
    """What all jobs share, as it was at one moment."""

    def __init__(self, context: Context, gatherer: PlacementGatherer) -> None:
        self.at_seconds = context.clock()
        self._context = context
        self._macs = gatherer.mac_slots()
        self._views = context.fleet.views()
        """As they are when they are asked for: one that is kept keeps its rows."""
        self._rented = {
            mac.metadata.name: Rented(mac.spec.billing.lessor, mac.spec.billing.sku)
            for mac in context.cache.all(MacAgent)
            if mac.spec.billing is not None and mac.spec.billing.lessor is not None
        }
        self._alike: dict[frozenset[str], tuple[AlikeMacs, tuple[_Lanes, ...]]] = {}
        """By the labels that jobs select by."""
        self._ladders: dict[tuple[str, str], Mapping[str, ReportedLadder]] = {}

    @cached_property
    def demands(self) -> Mapping[str, list[_Demand]]:
        """By namespace."""
        found: dict[str, list[_Demand]] = {}
        for job in filter(_wants_lanes, self._context.cache.all(AudioBatchJob)):
            demand = _Demand(job.metadata.uid, job.metadata.namespace, _rank(job), _left_seconds(job))
            found.setdefault(demand.namespace, []).append(demand)
        return found

    def lanes(self, job: PlacementJob) -> list[_Lanes]:
        """Of the groups whose Macs could run the job."""
        alike, lanes = self._grouped(job.needs.mac_selector.keys)
        reasons = alike.reasons(job, A_LANE)
        return [found for found, reason in zip(lanes, reasons, strict=True) if reason is None]

    def ladders(self, model_digest: str, contract_digest: str) -> Mapping[str, ReportedLadder]:
        """By profile."""
        key = (model_digest, contract_digest)
        if key not in self._ladders:
            self._ladders[key] = ladders_by_profile(self._views, model_digest, contract_digest)
        return self._ladders[key]

    def _grouped(self, selected: frozenset[str]) -> tuple[AlikeMacs, tuple[_Lanes, ...]]:
        found = self._alike.get(selected)
        if found is None:
            alike = AlikeMacs(self._macs, selected, self._context.cache.labels_by_namespace())
            lanes = tuple(
                _Lanes.of([self._macs[place] for place in places], self._views, self._rented) for places in alike.groups
            )
            found = self._alike[selected] = alike, lanes
        return found


@dataclass(slots=True)
class LaneOutlooks:
    context: Context
    gatherer: PlacementGatherer
    _shared: _Shared | None = field(default=None)

    def of(self, job: AudioBatchJob, model_digest: str) -> LaneOutlook:
        now, contract = self.context.clock(), job.status.contract
        if self._shared is None or now - self._shared.at_seconds >= SHARED_SECONDS:
            self._shared = _Shared(self.context, self.gatherer)
        shared, common = self._shared, self.gatherer.common_of(job)
        ladders = {} if contract is None else shared.ladders(model_digest, contract.digest)
        lanes = measured_lanes = measured = 0
        closing_seconds: list[float] = []
        rented: set[Rented] = set()
        for group in shared.lanes(common):
            rented |= group.rented
            closing_seconds += [max(0.0, closes_seconds - now) for closes_seconds in group.closes_seconds]
            for profile, count in group.by_profile.items():
                lanes += count
                ladder = ladders.get(profile)
                if ladder is not None and ladder.audio_milliseconds_per_second:
                    measured_lanes += count
                    measured += count * ladder.audio_milliseconds_per_second
        own, rank = job.metadata.namespace, _rank(job)
        return LaneOutlook(
            lanes=lanes,
            audio_milliseconds_per_second=measured / measured_lanes if measured_lanes else None,
            namespaces=len({own, *shared.demands}),
            ahead_seconds=sum(
                other.left_seconds
                for other in shared.demands.get(own, ())
                if other.rank < rank and other.uid != job.metadata.uid
            ),
            price=hourly_price(self.context.budgets.book, rented, self.context.now().date()),
            closing_seconds=tuple(closing_seconds),
        )


def _wants_lanes(job: AudioBatchJob) -> bool:
    status = job.status
    return (
        status.finalize_time is None
        and status.plan is not None
        and status.shards.committed < status.shards.total
        and takes_attempts(job)
        and not is_suspended(job)
        and halted_condition(job) is None
    )


def _left_seconds(job: AudioBatchJob) -> float:
    """As the job's own estimate says; 0 for one that has none yet."""
    estimate = job.status.estimate
    if estimate is None:
        return 0.0
    return max(0.0, estimate.machine_seconds - seconds_milliseconds(job.status.usage.machine_seconds) / 1000)


def _rank(job: AudioBatchJob) -> tuple[int, str, str]:
    return -job.spec.priority, job.metadata.creation_timestamp, job.metadata.name
