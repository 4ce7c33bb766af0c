"""A MacAgent's conditions and facts, as its view shows them. Pure. Nothing in it changes as work progresses."""

from __future__ import annotations

from voxfleet_api.conditions import Condition, Conditions, ConditionType, Reason, condition, find
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.mac_agent import MacAgentStatus, Machine, MachinePool
from voxfleet_api.protocol import MachineFacts
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.reconcile.mac.availability import (
    ConditionVerdict,
    availability,
    ledger_verified,
    reachable,
    runtime_compatible,
)

OFFLINE = "Offline"


def mac_status(mac: MacAgent, view: MacView, now: str) -> MacAgentStatus:
    verdicts = {
        ConditionType.ACCEPTED: ConditionVerdict(True, Reason.ACCEPTED, "the spec is usable"),
        ConditionType.REACHABLE: reachable(view),
        ConditionType.RUNTIME_COMPATIBLE: runtime_compatible(view),
        ConditionType.LEDGER_VERIFIED: ledger_verified(view),
        ConditionType.AVAILABLE: availability(mac, view).verdict,
    }
    generation = mac.metadata.generation
    return MacAgentStatus(
        observed_generation=generation,
        conditions=tuple(
            condition(mac.status.conditions, type_, *verdict, generation=generation, now=now)
            for type_, verdict in verdicts.items()
        ),
        machine=mac.status.machine if view.machine is None else machine(view.machine),
    )


def contact_change(before: Conditions, after: Conditions) -> Condition | None:
    """The Reachable condition if contact came, went, or fails for another reason: people are told of it."""
    old, new = find(before, ConditionType.REACHABLE), find(after, ConditionType.REACHABLE)
    if new is None or new.status == "Unknown" or (old is not None and old.reason == new.reason):
        return None
    return new


def machine(facts: MachineFacts) -> Machine:
    return Machine(
        hardware_id=facts.hardware_id,
        chip=facts.chip,
        memory_bytes=facts.memory_bytes,
        os=facts.os,
        pools=tuple(MachinePool(name=pool.name, kind=pool.kind, lanes=pool.lanes) for pool in facts.pools),
        versions=facts.versions,
    )


def lane_memory_bytes(facts: MachineFacts) -> int | None:
    """The memory cap of its roomiest lanes for batches; None if the agent does not say, or has none."""
    caps = [pool.memory_cap_bytes for pool in facts.pools if pool.kind == OFFLINE and pool.lanes]
    known = [cap for cap in caps if cap is not None]
    return max(known) if known and len(known) == len(caps) else None


def offline_lanes(facts: MachineFacts) -> int:
    return sum(pool.lanes for pool in facts.pools if pool.kind == OFFLINE)
