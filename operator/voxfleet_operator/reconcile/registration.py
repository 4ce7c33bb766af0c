"""How a kind's folder tells the operator of itself: its `registration.py` holds one Registration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from voxfleet_api.kinds import Resource
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.backoffs import Backoffs
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.exclusions import Exclusions
from voxfleet_operator.reconcile.job_findings import JobBlockers, PendingReasons
from voxfleet_operator.reconcile.lease_clock import LeaseClock
from voxfleet_operator.triggers import WokenBy, wakes_nothing


class Reconciler(Protocol):
    async def reconcile(self, key: Key) -> float | None:
        """Brings the world closer to what the object asks for.

        Returns the seconds after which to run again if nothing wakes the key earlier, or None.
        """
        ...


@dataclass(frozen=True, slots=True)
class SharedFindings:
    """What reconcilers find out for each other. The next process has to find it anew."""

    backoffs: Backoffs
    exclusions: Exclusions
    blockers: JobBlockers
    pending_reasons: PendingReasons
    lease_clock: LeaseClock

    @classmethod
    def empty(cls, context: Context) -> SharedFindings:
        return cls(Backoffs(), Exclusions(), JobBlockers(), PendingReasons(), LeaseClock(context))


@dataclass(frozen=True, slots=True)
class Registration:
    kind: type[Resource]
    make: Callable[[Context, SharedFindings], Reconciler]
    woken_by: WokenBy = wakes_nothing
