"""Explains an AudioShard."""

from __future__ import annotations

from collections.abc import Sequence

from voxfleet_api.conditions import ConditionType, find
from voxfleet_api.kinds import AudioShard
from voxfleet_cli.explainers.explanation import (
    UNSEEN,
    UNSEEN_STATE,
    Explainer,
    Plain,
    attempts_of,
    conditions,
    identity,
    without_empty,
)


def explain_shard(shard: AudioShard, _: Sequence[AudioShard]) -> Plain:
    committed = find(shard.status.conditions, ConditionType.COMMITTED)
    return without_empty(
        {
            **identity(shard),
            "state": committed.reason if committed else UNSEEN_STATE,
            "next": committed.message if committed else UNSEEN,
            "job": shard.spec.job_ref.name,
            "stage": shard.spec.stage.value,
            "indexes": shard.spec.indexes,
            "conditions": conditions(shard.status.conditions),
            "clips": shard.status.clips.dump() if shard.status.clips else None,
            "attempts": attempts_of(shard),
        }
    )


EXPLAINER = Explainer(AudioShard, explain_shard)
