"""What an agent says of its machine, as a MacAgent's status has room for it. Pure."""

from __future__ import annotations

from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.mac_agent import Machine, MachinePool, MachineReservation
from voxfleet_api.machine_messages import MachineFacts
from voxfleet_api.pools import MAX_RESERVED, PoolKind, lanes_of
from voxfleet_operator.fleet.mac_view import MacView

MAX_FACT, MAX_NAME, MAX_POOLS, MAX_VERSIONS = 128, 63, 16, 32
"""What MacAgentStatus takes: texts, names and versions of packages in characters, pools and packages by number."""


def shown_machine(mac: MacAgent, view: MacView) -> Machine | None:
    """What it says now, or said last; None: it was never reached."""
    return mac.status.machine if view.machine is None else machine(view.machine)


def machine(facts: MachineFacts) -> Machine:
    pools = {pool.name[:MAX_NAME]: pool for pool in reversed(facts.pools[:MAX_POOLS])}
    return Machine(
        hardware_id=facts.hardware_id[:MAX_FACT],
        boot_id=facts.boot_id[:MAX_FACT],
        ledger_chain_id=facts.ledger_chain_id[:64],
        chip=facts.chip[:MAX_FACT],
        memory_bytes=facts.memory_bytes,
        os=facts.os[:MAX_FACT],
        pools=tuple(
            MachinePool(name=name, kind=pool.kind, lanes=pool.lanes, memory_cap_bytes=pool.memory_cap_bytes)
            for name, pool in reversed(pools.items())
        ),
        reserved=_reserved(facts),
        usable_memory_bytes=facts.usable_memory_bytes,
        versions={
            name[:MAX_NAME]: version[:MAX_NAME] for name, version in sorted(facts.versions.items())[:MAX_VERSIONS]
        },
    )


def _reserved(facts: MachineFacts) -> tuple[MachineReservation, ...] | None:
    if facts.reserved is None:
        return None
    named = {one.name[:MAX_NAME]: one.memory_bytes for one in reversed(facts.reserved[:MAX_RESERVED])}
    return tuple(MachineReservation(name=name, memory_bytes=size) for name, size in reversed(named.items()))


def lane_memory_bytes(machine: MachineFacts | Machine) -> int | None:
    """The memory cap of its roomiest lanes for batches; None if the agent does not say, or has none."""
    caps = [pool.memory_cap_bytes for pool in machine.pools if pool.kind == PoolKind.OFFLINE and pool.lanes]
    known = [cap for cap in caps if cap is not None]
    return max(known) if known and len(known) == len(caps) else None


def offline_lanes(machine: MachineFacts | Machine) -> int:
    """The lanes that shards may get."""
    return lanes_of(machine.pools, PoolKind.OFFLINE)
