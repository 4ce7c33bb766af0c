"""All reconcilers, by the kind of their keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, VoiceContract
from voxfleet_operator.queue import PLACEMENT, Key
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.contract import ContractReconciler
from voxfleet_operator.reconcile.job import JobReconciler
from voxfleet_operator.reconcile.mac import MacReconciler
from voxfleet_operator.reconcile.placement import PlacementReconciler
from voxfleet_operator.reconcile.shard import ShardReconciler


class Reconciler(Protocol):
    async def reconcile(self, key: Key) -> float | None:
        """Seconds until it wants to run again, should nothing wake it before; None: never."""
        ...


def reconcilers(context: Context) -> Mapping[str, Reconciler]:
    return {
        VoiceContract.crd.kind: ContractReconciler(context),
        AudioBatchJob.crd.kind: JobReconciler(context),
        AudioShard.crd.kind: ShardReconciler(context),
        MacAgent.crd.kind: MacReconciler(context),
        PLACEMENT.kind: PlacementReconciler(context),
    }
