"""Explains a VoiceContract."""

from __future__ import annotations

from voxfleet_api.conditions import ConditionType
from voxfleet_api.kinds import VoiceContract
from voxfleet_cli.explainers.explanation import Explainer, message_of, reason_of

EXPLAINER = Explainer(
    kind=VoiceContract,
    state=lambda contract: reason_of(contract.status.conditions, ConditionType.ACCEPTED),
    next=lambda contract: message_of(contract.status.conditions, ConditionType.ACCEPTED),
    details=lambda contract, _: {"digest": contract.status.digest},
)
