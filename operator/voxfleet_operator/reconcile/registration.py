"""How a kind's folder tells the operator of itself: its `registration.py` holds one Registration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from voxfleet_api.kinds import AudioBatchJob, Resource
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.archived_estimates import ArchivedEstimates
from voxfleet_operator.reconcile.backoffs import Backoffs
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.exclusions import Exclusions
from voxfleet_operator.reconcile.job_findings import JobBlockers, PendingReasons
from voxfleet_operator.reconcile.lane_outlook import LaneOutlook
from voxfleet_operator.reconcile.lane_places import LaneClaims, LanePlacesOf, no_places
from voxfleet_operator.reconcile.lease_clock import LeaseClock
from voxfleet_operator.reconcile.refusing_macs import RefusingMacs
from voxfleet_operator.reconcile.stored_statements import StoredStatements
from voxfleet_operator.triggers import WokenBy, wakes_nothing


class Reconciler(Protocol):
    async def reconcile(self, key: Key) -> float | None:
        """Brings the world closer to what the object asks for.

        Returns the seconds after which to run again if nothing wakes the key earlier, or None.
        """
        ...


OutlookOf = Callable[[AudioBatchJob, str], LaneOutlook]
"""The lanes that a job may count on, for its model's digest. Placement knows."""


def _no_lanes(job: AudioBatchJob, model_digest: str) -> LaneOutlook:
    return LaneOutlook(lanes=0)


@dataclass(frozen=True, slots=True)
class SharedFindings:
    """What reconcilers find out for each other. The next process has to find it anew."""

    backoffs: Backoffs
    exclusions: Exclusions
    refusing: RefusingMacs
    blockers: JobBlockers
    pending_reasons: PendingReasons
    lease_clock: LeaseClock
    statements: StoredStatements
    archived_estimates: ArchivedEstimates = field(default_factory=ArchivedEstimates)
    outlook: OutlookOf = _no_lanes
    lane_claims: LaneClaims = field(default_factory=LaneClaims)
    lane_places: LanePlacesOf = no_places

    @classmethod
    def empty(cls, context: Context) -> SharedFindings:
        return cls(
            Backoffs(),
            Exclusions(),
            RefusingMacs(),
            JobBlockers(),
            PendingReasons(),
            LeaseClock(context),
            StoredStatements(context.cache),
        )


@dataclass(frozen=True, slots=True)
class Registration:
    kind: type[Resource]
    make: Callable[[Context, SharedFindings], Reconciler]
    woken_by: WokenBy = wakes_nothing
