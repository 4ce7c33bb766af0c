"""The ways that a run can take, and those that a whole `make sim` has to take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

from tests.sim.faults import FAULTS
from tests.sim.moments import MOMENTS

from voxfleet_agent.attempts.state_machine import TABLE as AGENT_TABLE
from voxfleet_operator.reconcile.shard.decide import TABLE as SHARD_TABLE

K = TypeVar("K")
V = TypeVar("V")
FULL_SEEDS = 1000
"""A run of so many seeds has to take every edge."""


class CountingTable(dict[K, V]):
    """A decision table that counts which of its cells are asked for."""

    def __init__(self, table: Mapping[K, V], edges: Counter[str], prefix: str) -> None:
        super().__init__(table)
        self._edges = edges
        self._prefix = prefix

    def __getitem__(self, key: K) -> V:
        found = super().__getitem__(key)
        names = key if isinstance(key, tuple) else (key,)
        self._edges[f"{self._prefix}{' x '.join(str(getattr(name, 'value', name)) for name in names)} = {found}"] += 1
        return found


OTHERS = (
    "AudioBatchJob - -> Planning",
    "AudioBatchJob Finalizing -> Failed",
    "AudioBatchJob Finalizing -> Finished",
    "AudioBatchJob Finalizing -> WaitingForMac",
    "AudioBatchJob Planning -> Running",
    "AudioBatchJob Planning -> WaitingForMac",
    "AudioBatchJob Running -> Finalizing",
    "AudioBatchJob Running -> WaitingForMac",
    "AudioBatchJob WaitingForMac -> Failed",
    "AudioBatchJob WaitingForMac -> Planning",
    "AudioBatchJob WaitingForMac -> Running",
    "agent.delete 202",
    "agent.delete 204",
    "agent.lease expired",
    "agent.refused 412",
    "agent.refused 429",
    "agent.refused 507",
    "agent.stage failed",
    "agent.stage failed for the job's fault",
    "api.conflict",
    "api.slow",
    "api.unreachable",
    "attempt Failed",
    "attempt Lost",
    "attempt Refused",
    "attempt Succeeded",
    "network.cut off",
    "network.held back",
    "network.lost",
    "operator.leadership lost",
    "operator.leads",
    "operator.thawed after a stall",
    "watch.event missed",
)
"""States of jobs, answers of agents, and what networks and API servers do."""

NEVER: Mapping[str, str] = {}
"""Cells of the tables that no run reaches, and why."""


def expected() -> frozenset[str]:
    """Each fault and each moment, each cell of the two tables that decide, and the others."""
    cells = {
        *(f"shard.{contact.value} x {report.value} = {action}" for (contact, report), action in SHARD_TABLE.items()),
        *(f"agent.state {state.value} x {event.value}" for state, event in AGENT_TABLE),
    }
    found = {f"fault.{kind}" for kind in FAULTS} | {f"moment.{name}" for name in MOMENTS} | cells | {*OTHERS}
    return frozenset(found - NEVER.keys())


EXPECTED = expected()


def never_taken(edges: Mapping[str, int]) -> list[str]:
    return sorted(edge for edge in EXPECTED if not edges.get(edge))
