"""Whether the machine behind a MacAgent has passed its acceptance. Pure."""

from __future__ import annotations

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import MacAgent
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.reconcile.mac.verdict import ConditionVerdict


def acceptance_passed(mac: MacAgent, view: MacView) -> ConditionVerdict | None:
    """None: the Mac neither requires acceptance nor has one."""
    found, name = mac.spec.acceptance, mac.metadata.name
    if found is None and not mac.spec.require_acceptance:
        return None
    again = f"voxfleet accept -f JOB --mac {name} --baseline DIR"
    if found is None:
        message = f"the Mac was not tried yet: {again}"
        return ConditionVerdict(False, Reason.AWAITS_ACCEPTANCE, message)
    if found.ledger_public_key != mac.spec.ledger_public_key:
        message = f"the machine that was tried on {found.accepted_at} signed with another ledger key; {again}"
        return ConditionVerdict(False, Reason.OTHER_MACHINE_ACCEPTED, message)
    hardware_id = _hardware_id(mac, view)
    if hardware_id is None:
        return ConditionVerdict(None, Reason.UNKNOWN, "the agent was not reached yet")
    if found.hardware_id != hardware_id:
        message = (
            f"the machine that was tried on {found.accepted_at} has hardware id {found.hardware_id}, and this one"
            f" {hardware_id}; {again}"
        )
        return ConditionVerdict(False, Reason.OTHER_MACHINE_ACCEPTED, message)
    failed = [line for line in found.lines if not line.passed]
    if failed or not found.passed:  # an API server may hold objects from before the rule that ties them
        lines = "; ".join(f"{line.name}: {line.value}, allowed: {line.limit}" for line in failed)
        return ConditionVerdict(False, Reason.ACCEPTANCE_FAILED, f"{lines or 'it did not pass'}; mend it, then {again}")
    message = f"passed on {found.accepted_at}, record sha256 {found.record_sha256}"
    return ConditionVerdict(True, Reason.ACCEPTANCE_PASSED, message)


def awaits_acceptance(mac: MacAgent, view: MacView) -> ConditionVerdict | None:
    """Why the Mac takes no work but the job that tries it; None if that does not keep it from work."""
    if not mac.spec.require_acceptance:
        return None
    found = acceptance_passed(mac, view)
    if found is None or found.status:
        return None
    return ConditionVerdict(False, Reason.AWAITS_ACCEPTANCE, found.message)


def _hardware_id(mac: MacAgent, view: MacView) -> str | None:
    """Of the machine that proved itself last."""
    if view.identity is not None:
        return view.identity.hardware_id
    known = view.machine or mac.status.machine
    return None if known is None else known.hardware_id
