"""Explains a MacAgent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from voxfleet_api.conditions import Condition, ConditionType, find
from voxfleet_api.kinds import AudioShard, MacAgent
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


def explain_mac(mac: MacAgent, shards: Sequence[AudioShard]) -> Plain:
    available = find(mac.status.conditions, ConditionType.AVAILABLE)
    return without_empty(
        {
            **identity(mac),
            "state": available.reason if available else UNSEEN_STATE,
            "next": _mac_next(mac.status.conditions),
            "conditions": conditions(mac.status.conditions),
            "machine": mac.status.machine.dump() if mac.status.machine else None,
            "attempts": [line for shard in shards for line in attempts_of(shard) if line["mac"] == mac.metadata.name],
        }
    )


def _mac_next(present: Iterable[Condition]) -> str:
    bad = [item for item in present if item.status != "True" and item.message]
    # Availability only follows from the other conditions, so the one that says why comes first.
    causes = [item for item in bad if item.type != ConditionType.AVAILABLE] or bad
    if causes:
        return causes[0].message
    return "nothing: it takes attempts" if list(present) else UNSEEN


def _shows(mac: MacAgent, shard: AudioShard) -> bool:
    return shard.status.mac == mac.metadata.name


EXPLAINER = Explainer(MacAgent, explain_mac, _shows)
