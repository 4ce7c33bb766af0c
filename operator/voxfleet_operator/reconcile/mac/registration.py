"""MacAgent, for the registry."""

from __future__ import annotations

from voxfleet_api.kinds import MacAgent
from voxfleet_operator.reconcile.mac.reconcile import MacReconciler
from voxfleet_operator.reconcile.registration import Registration

REGISTRATION = Registration(MacAgent, lambda context, findings: MacReconciler(context, findings.exclusions))
