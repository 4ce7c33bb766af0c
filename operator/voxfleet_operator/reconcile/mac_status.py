"""A MacAgent's conditions and facts, as its view shows them. Pure; nothing in it moves with work."""

from __future__ import annotations

from voxfleet_api.conditions import Condition, ConditionType, Reason, condition
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.mac_agent import MacAgentStatus, Machine
from voxfleet_api.protocol import MachineFacts
from voxfleet_operator.fleet.view import MacView

OFFLINE = "Offline"


def mac_status(mac: MacAgent, view: MacView, now: str) -> MacAgentStatus:
    accepted = (ConditionType.ACCEPTED, True, Reason.ACCEPTED, "the spec is usable")
    conditions = (accepted, _reachable(view), _runtime(view), _ledger(view), _available(mac, view))
    return MacAgentStatus(
        observed_generation=mac.metadata.generation,
        conditions=tuple(
            _condition(mac, type_, status, reason, message, now) for type_, status, reason, message in conditions
        ),
        machine=mac.status.machine if view.machine is None else machine(view.machine),
    )


def machine(facts: MachineFacts) -> Machine:
    return Machine(
        hardware_id=facts.hardware_id,
        chip=facts.chip,
        memory_bytes=facts.memory_bytes,
        os=facts.os,
        lanes=offline_lanes(facts),
        versions=facts.versions,
    )


def offline_lanes(facts: MachineFacts) -> int:
    return sum(pool.lanes for pool in facts.pools if pool.kind == OFFLINE)


_Verdict = tuple[ConditionType, bool | None, str, str]


def _reachable(view: MacView) -> _Verdict:
    if view.connected:
        return ConditionType.REACHABLE, True, Reason.CONNECTED, "the agent proved its identity and answers"
    status = None if view.reason in (Reason.CONNECTING, Reason.UNKNOWN) else False
    return ConditionType.REACHABLE, status, view.reason, view.message


def _runtime(view: MacView) -> _Verdict:
    if view.machine is None:
        return ConditionType.RUNTIME_COMPATIBLE, None, Reason.UNKNOWN, "the agent was not reached yet"
    if view.machine.runtime_compatible:
        return ConditionType.RUNTIME_COMPATIBLE, True, Reason.COMPATIBLE, view.machine.runtime_message
    return ConditionType.RUNTIME_COMPATIBLE, False, Reason.INCOMPATIBLE, view.machine.runtime_message


def _ledger(view: MacView) -> _Verdict:
    if view.ledger_error is not None:
        return ConditionType.LEDGER_VERIFIED, False, Reason.ROW_REFUSED, view.ledger_error
    if view.machine is None:
        return ConditionType.LEDGER_VERIFIED, None, Reason.UNKNOWN, "the agent was not reached yet"
    return ConditionType.LEDGER_VERIFIED, True, Reason.VERIFIED, "all signed rows that were read verify"


def _available(mac: MacAgent, view: MacView) -> _Verdict:
    available = ConditionType.AVAILABLE
    if mac.metadata.deletion_timestamp is not None:
        return available, False, Reason.UNSCHEDULABLE, "the MacAgent is being deleted"
    if mac.spec.unschedulable:
        return available, False, Reason.UNSCHEDULABLE, "spec.unschedulable is true; running attempts finish"
    for _, status, reason, message in (_reachable(view), _runtime(view), _ledger(view)):
        if not status:
            return available, status, reason, message
    return available, True, Reason.AVAILABLE, "the Mac takes attempts"


def _condition(
    mac: MacAgent, type_: ConditionType, status: bool | None, reason: str, message: str, now: str
) -> Condition:
    return condition(mac.status.conditions, type_, status, reason, message, generation=mac.metadata.generation, now=now)
