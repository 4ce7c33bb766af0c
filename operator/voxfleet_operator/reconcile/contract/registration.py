"""VoiceContract, for the registry."""

from __future__ import annotations

from voxfleet_api.kinds import VoiceContract
from voxfleet_operator.reconcile.contract.reconcile import ContractReconciler
from voxfleet_operator.reconcile.registration import Registration

REGISTRATION = Registration(VoiceContract, lambda context, _: ContractReconciler(context))
