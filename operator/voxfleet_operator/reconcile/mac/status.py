"""A MacAgent's conditions and facts, as its view shows them. Pure. Nothing in it changes as work progresses."""

from __future__ import annotations

from voxfleet_api.conditions import ConditionType, Reason, condition
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.mac_agent import MacAgentStatus, MacExclusion, Machine, MachinePool
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


def mac_status(mac: MacAgent, view: MacView, now: str, exclusion: MacExclusion | None = None) -> MacAgentStatus:
    """`exclusion`: the one that holds now."""
    verdicts = {
        ConditionType.ACCEPTED: ConditionVerdict(True, Reason.ACCEPTED, "the spec is usable"),
        ConditionType.REACHABLE: reachable(view),
        ConditionType.RUNTIME_COMPATIBLE: runtime_compatible(view),
        ConditionType.LEDGER_VERIFIED: ledger_verified(view),
        ConditionType.AVAILABLE: availability(mac, view, exclusion).verdict,
    }
    generation = mac.metadata.generation
    return MacAgentStatus(
        observed_generation=generation,
        conditions=tuple(
            condition(mac.status.conditions, type_, *verdict, generation=generation, now=now)
            for type_, verdict in verdicts.items()
        ),
        machine=mac.status.machine if view.machine is None else machine(view.machine),
        exclusion=exclusion,
    )


def machine(facts: MachineFacts) -> Machine:
    return Machine(
        hardware_id=facts.hardware_id,
        boot_id=facts.boot_id[:128],
        chip=facts.chip,
        memory_bytes=facts.memory_bytes,
        os=facts.os,
        pools=tuple(MachinePool(name=pool.name, kind=pool.kind, lanes=pool.lanes) for pool in facts.pools),
        versions=facts.versions,
    )


def offline_lanes(facts: MachineFacts) -> int:
    return sum(pool.lanes for pool in facts.pools if pool.kind == OFFLINE)
