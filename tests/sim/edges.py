"""The ways that a run can take, and those that a whole `make sim` has to take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

from tests.sim.faults import FAULTS

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


SEEN = (
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
    "agent.state Accepted x Granted",
    "agent.state Failed x Delete",
    "agent.state Finishing x CleanedFailure",
    "agent.state Finishing x CleanedSuccess",
    "agent.state Finishing x Restarted",
    "agent.state Parked x Delete",
    "agent.state Parked x Put",
    "agent.state Running x Delete",
    "agent.state Running x Ended",
    "agent.state Running x Lapsed",
    "agent.state Running x Put",
    "agent.state Running x Restarted",
    "agent.state Succeeded x Delete",
    "agent.state Succeeded x Restarted",
    "api.conflict",
    "api.slow",
    "api.unreachable",
    "attempt Failed",
    "attempt Lost",
    "attempt Refused",
    "attempt Succeeded",
    "moment.assigned",
    "moment.committed",
    "moment.finalizing",
    "moment.planned",
    "moment.replacing",
    "moment.working",
    "network.cut off",
    "network.held back",
    "network.lost",
    "operator.leadership lost",
    "operator.leads",
    "operator.thawed after a stall",
    "shard.Connected x Absent = Put",
    "shard.Connected x Accepted = Wait",
    "shard.Connected x Failed = Fail",
    "shard.Connected x Finishing = Wait",
    "shard.Connected x Parked = Put",
    "shard.Connected x Running = Wait",
    "shard.Connected x Succeeded = Commit",
    "shard.Lost x Absent = Replace",
    "shard.Lost x Running = Replace",
    "shard.Silent x Absent = Wait",
    "shard.Silent x Failed = Fail",
    "shard.Silent x Finishing = Wait",
    "shard.Silent x Parked = Wait",
    "shard.Silent x Running = Wait",
    "shard.Silent x Succeeded = Commit",
    "watch.event missed",
)
"""What a few dozen seeds take: a thousand that miss one of these no longer test what they did."""

EXPECTED: frozenset[str] = frozenset({f"fault.{kind}" for kind in FAULTS} | {*SEEN})


def never_taken(edges: Mapping[str, int]) -> list[str]:
    return sorted(edge for edge in EXPECTED if not edges.get(edge))
