"""AudioShard, for the registry."""

from __future__ import annotations

from voxfleet_api.kinds import AudioShard
from voxfleet_operator.reconcile.registration import Registration
from voxfleet_operator.reconcile.shard.reconcile import ShardReconciler

REGISTRATION = Registration(AudioShard, ShardReconciler)
