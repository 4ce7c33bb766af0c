"""Explains a VoiceContract."""

from __future__ import annotations

from collections.abc import Sequence

from voxfleet_api.conditions import ConditionType, find
from voxfleet_api.kinds import AudioShard, VoiceContract
from voxfleet_cli.explainers.explanation import (
    UNSEEN,
    UNSEEN_STATE,
    Explainer,
    Plain,
    conditions,
    identity,
    without_empty,
)


def explain_contract(contract: VoiceContract, _: Sequence[AudioShard]) -> Plain:
    accepted = find(contract.status.conditions, ConditionType.ACCEPTED)
    return without_empty(
        {
            **identity(contract),
            "state": accepted.reason if accepted else UNSEEN_STATE,
            "next": accepted.message if accepted else UNSEEN,
            "digest": contract.status.digest,
            "conditions": conditions(contract.status.conditions),
        }
    )


EXPLAINER = Explainer(VoiceContract, explain_contract)
