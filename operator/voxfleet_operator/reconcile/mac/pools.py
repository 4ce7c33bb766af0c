"""Whether what a MacAgent declares of pools and co-tenants fits its machine, and is what the agent has. Pure.

The agent's own file wins: nothing here changes what it does. Nothing here moves with work, either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.mac_agent import MacAgentSpec, Machine
from voxfleet_api.pools import MemoryClaim, claimed_bytes, claims_text, size_text, usable_memory_bytes
from voxfleet_operator.reconcile.mac.verdict import ConditionVerdict

UNTOLD = "the agent does not say"


def overcommitted(mac: MacAgent, machine: Machine | None) -> ConditionVerdict | None:
    """Why the spec promises more memory than the machine has for lanes and co-tenants; None if it does not.

    `machine`: as it is, or was last, reported. What the spec leaves out counts as the agent has it.
    """
    spec = mac.spec
    if machine is None or not (spec.pools or spec.reserved):
        return None
    claims = [*_pool_claims(spec, machine), *_reserved_claims(spec, machine)]
    usable_bytes = machine.usable_memory_bytes
    if usable_bytes is None:
        usable_bytes = usable_memory_bytes(machine.memory_bytes)
    if claimed_bytes(claims) <= usable_bytes:
        return None
    message = (
        f"pools and reserved memory are {claims_text(claims)}, and this Mac has {usable_bytes // 2**20} MiB for both:"
        " lower lanes, memoryCap or reserved, in the spec and in agent.yaml"
    )
    return ConditionVerdict(False, Reason.MEMORY_OVERCOMMITTED, message)


def pools_match(mac: MacAgent, machine: Machine | None) -> ConditionVerdict | None:
    """Whether the agent has the pools and reservations of the spec; None: the spec has none.

    `machine`: as it is, or was last, reported.
    """
    spec = mac.spec
    if not (spec.pools or spec.reserved):
        return None
    if machine is None:
        return ConditionVerdict(None, Reason.UNKNOWN, "the agent was not reached yet")
    differences = [*_pool_differences(spec, machine), *_reserved_differences(spec, machine)]
    if differences:
        message = (
            f"{'; '.join(differences)}. The agent's file wins: change it and restart the agent, or change the spec"
        )
        return ConditionVerdict(False, Reason.POOLS_DIFFER, message)
    if untold := _untold(spec, machine):
        message = f"{' and '.join(untold)}: {UNTOLD}; upgrade it"
        return ConditionVerdict(None, Reason.UNKNOWN, message)
    return ConditionVerdict(True, Reason.POOLS_MATCH, "the agent has the pools and reservations of the spec")


def _pool_claims(spec: MacAgentSpec, machine: Machine) -> list[MemoryClaim]:
    if spec.pools:
        return [pool.claim for pool in spec.pools]
    return [
        MemoryClaim(pool.name, size_text(pool.memory_cap_bytes), pool.memory_cap_bytes, pool.lanes)
        for pool in machine.pools
        if pool.memory_cap_bytes is not None
    ]


def _reserved_claims(spec: MacAgentSpec, machine: Machine) -> list[MemoryClaim]:
    if spec.reserved:
        return [one.claim for one in spec.reserved]
    return [MemoryClaim(one.name, size_text(one.memory_bytes), one.memory_bytes) for one in machine.reserved or ()]


def _pool_differences(spec: MacAgentSpec, machine: Machine) -> Iterator[str]:
    if not spec.pools:
        return
    reported = {pool.name: pool for pool in machine.pools}
    yield from _names("pools", [pool.name for pool in spec.pools], reported)
    for pool in spec.pools:
        found = reported.get(pool.name)
        if found is None:
            continue
        if found.kind != pool.kind:
            yield f"pools[{pool.name}].kind is {pool.kind} in the spec, {found.kind} in the agent's file"
        if found.lanes != pool.lanes:
            yield f"pools[{pool.name}].lanes is {pool.lanes} in the spec, {found.lanes} in the agent's file"
        if found.memory_cap_bytes not in (None, pool.memory_cap_bytes):
            yield _sizes(f"pools[{pool.name}].memoryCap", pool.memory_cap, found.memory_cap_bytes)


def _reserved_differences(spec: MacAgentSpec, machine: Machine) -> Iterator[str]:
    if not spec.reserved or machine.reserved is None:
        return
    reported = {one.name: one.memory_bytes for one in machine.reserved}
    yield from _names("reserved", [one.name for one in spec.reserved], reported)
    for one in spec.reserved:
        if reported.get(one.name, one.memory_bytes) != one.memory_bytes:
            yield _sizes(f"reserved[{one.name}].memory", one.memory, reported[one.name])


def _names(field: str, declared: list[str], reported: Mapping[str, object]) -> Iterator[str]:
    for name in declared:
        if name not in reported:
            yield f"{field}[{name}] is in the spec alone"
    for name in reported:
        if name not in declared:
            yield f"{field}[{name}] is in the agent's file alone"


def _sizes(field: str, declared: str, reported_bytes: int | None) -> str:
    return f"{field} is {declared} in the spec, {size_text(reported_bytes or 0)} in the agent's file"


def _untold(spec: MacAgentSpec, machine: Machine) -> list[str]:
    declared = {pool.name for pool in spec.pools}
    caps = any(pool.name in declared and pool.memory_cap_bytes is None for pool in machine.pools)
    reserved = bool(spec.reserved) and machine.reserved is None
    return [*(["pools[].memoryCap"] if caps else []), *(["reserved"] if reserved else [])]
