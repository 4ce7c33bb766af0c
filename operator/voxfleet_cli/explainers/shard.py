"""Explains an AudioShard."""

from __future__ import annotations

from voxfleet_api.conditions import ConditionType
from voxfleet_api.kinds import AudioShard
from voxfleet_cli.explainers.explanation import Explainer, Plain, Related, attempts_of, message_of, reason_of


def _details(shard: AudioShard, _: Related) -> Plain:
    return {
        "job": shard.spec.job_ref.name,
        "stage": shard.spec.stage.value,
        "indexes": shard.spec.indexes,
        "splitInto": list(shard.status.superseded_by),
        "clips": shard.status.clips.dump() if shard.status.clips else None,
        "attempts": attempts_of(shard),
    }


EXPLAINER = Explainer(
    kind=AudioShard,
    state=lambda shard: reason_of(shard.status.conditions, ConditionType.COMMITTED),
    next=lambda shard: message_of(shard.status.conditions, ConditionType.COMMITTED),
    details=_details,
)
