"""Every reconciler, by the kind of its keys. A new kind is added here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, VoiceContract
from voxfleet_operator.placement.reconcile import PlacementReconciler
from voxfleet_operator.queue import PLACEMENT, Key
from voxfleet_operator.reconcile.backoffs import Backoffs
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.contract.reconcile import ContractReconciler
from voxfleet_operator.reconcile.job.reconcile import JobReconciler
from voxfleet_operator.reconcile.job_findings import JobBlockers, PendingReasons
from voxfleet_operator.reconcile.mac.reconcile import MacReconciler
from voxfleet_operator.reconcile.shard.lease_clock import LeaseClock
from voxfleet_operator.reconcile.shard.reconcile import ShardReconciler


class Reconciler(Protocol):
    async def reconcile(self, key: Key) -> float | None:
        """Brings the world closer to what the object asks for.

        Returns the seconds after which to run again if nothing wakes the key earlier, or None.
        """
        ...


def reconcilers(context: Context) -> Mapping[str, Reconciler]:
    """Makes the reconcilers and the state that some of them share, which the next process has to find anew."""
    backoffs, blockers, pending_reasons, lease_clock = Backoffs(), JobBlockers(), PendingReasons(), LeaseClock(context)
    return {
        VoiceContract.crd.kind: ContractReconciler(context),
        AudioBatchJob.crd.kind: JobReconciler(context, blockers, pending_reasons),
        AudioShard.crd.kind: ShardReconciler(context, backoffs, blockers, lease_clock),
        MacAgent.crd.kind: MacReconciler(context),
        PLACEMENT.kind: PlacementReconciler(context, backoffs, blockers, pending_reasons, lease_clock),
    }
