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
FULL_SEEDS, WHOLE_SEEDS = 1000, 10_000
"""Runs of so many seeds have to take every edge that is not rare, and every edge."""


class CountingTable(dict[K, V]):
    """A decision table that counts which of its cells are asked for."""

    def __init__(self, table: Mapping[K, V], edges: Counter[str], prefix: str, *, values: bool = True) -> None:
        super().__init__(table)
        self._edges = edges
        self._prefix = prefix
        self._values = values

    def __getitem__(self, key: K) -> V:
        found = super().__getitem__(key)
        names = key if isinstance(key, tuple) else (key,)
        cell = f"{self._prefix}{' x '.join(str(getattr(name, 'value', name)) for name in names)}"
        self._edges[f"{cell} = {found}" if self._values else cell] += 1
        return found


OTHERS = (
    "AudioBatchJob - -> Pending",
    "AudioBatchJob - -> Planning",
    "AudioBatchJob Finalizing -> Failed",
    "AudioBatchJob Finalizing -> Finished",
    "AudioBatchJob Finalizing -> WaitingForMac",
    "AudioBatchJob Planning -> Running",
    "AudioBatchJob Planning -> WaitingForMac",
    "AudioBatchJob Running -> Finalizing",
    "AudioBatchJob Running -> Suspended",
    "AudioBatchJob Running -> WaitingForMac",
    "AudioBatchJob Suspended -> Running",
    "AudioBatchJob WaitingForMac -> Failed",
    "AudioBatchJob WaitingForMac -> Planning",
    "AudioBatchJob WaitingForMac -> Running",
    "agent.delete 202",
    "agent.delete 204",
    "agent.lease expired",
    "agent.refused 410",
    "agent.refused 412",
    "agent.refused 422",
    "agent.refused 429",
    "agent.refused 503",
    "agent.refused 507",
    "agent.refused 408",
    "agent.stage failed",
    "agent.stage failed for the job's fault",
    "agent.stage returned",
    "agent.stage returned unasked",
    "api.conflict",
    "api.lost answer",
    "api.lost late",
    "api.lost request",
    "api.slow",
    "api.unreachable",
    "attempt Failed",
    "attempt Lost",
    "attempt Refused",
    "attempt Returned",
    "attempt Succeeded",
    "event Drained",
    "event EpochRaised",
    "event Excluded",
    "event ExclusionEnded",
    "event LeaseDeleted",
    "event LedgerBegunAnew",
    "event MachineReplaced",
    "event Split",
    "event StoppedUnseen",
    "network.cut off",
    "network.held back",
    "network.lost",
    "network.repeated",
    "network.slow",
    "operator.leadership lost",
    "operator.leads",
    "operator.thawed after a stall",
    "people.cancel",
    "people.mac drained",
    "people.mac removed",
    "people.rerun NotRun",
    "people.rerun Quarantined",
    "people.resume",
    "people.suspend",
    "recall.AtNextClip",
    "recall.Now",
    "watch.event missed",
    "watch.late",
)
"""States of jobs, answers of agents, and what networks and API servers do."""

NEVER: Mapping[str, str] = {
    **dict.fromkeys(
        ("shard.Connected x Foreign = Revoke", "shard.Silent x Foreign = Wait", "shard.Lost x Foreign = Replace"),
        "an attempt has another spec only once an API server was restored from an old copy, which is not modelled",
    ),
    "agent.state Deleting x Delete": "the agent answers before it asks the table",
}
"""Cells of the tables that no run reaches, and why."""

RARE = frozenset(
    {
        "AudioBatchJob - -> Pending",
        "agent.state Accepted x Delete",
        "agent.state Accepted x Lapsed",
        "agent.state Accepted x Put",
        "agent.state Accepted x Restarted",
        "agent.state Deleting x CleanedFailure",
        "agent.state Deleting x CleanedSuccess",
        "agent.state Deleting x Ended",
        "agent.state Deleting x Granted",
        "agent.state Deleting x Lapsed",
        "agent.state Deleting x Restarted",
        "agent.state Failed x Lapsed",
        "agent.state Failed x Put",
        "agent.state Failed x Restarted",
        "agent.state Finishing x Lapsed",
        "agent.state Finishing x Put",
        "agent.state Succeeded x Put",
        "event ExclusionEnded",
        "event StoppedUnseen",
        "shard.Lost x Accepted = Replace",
        "shard.Lost x Deleting = Replace",
        "shard.Lost x Failed = Fail",
        "shard.Lost x Parked = Replace",
        "shard.Lost x Succeeded = Commit",
        "shard.Silent x Deleting = Wait",
    }
)
"""Cells in which an attempt is for moments, so that few calls meet it, and meetings of two rare things."""


def expected() -> frozenset[str]:
    """Each fault and each moment, each cell of the two tables that decide, and the others."""
    cells = {
        *(f"shard.{contact.value} x {report.value} = {action}" for (contact, report), action in SHARD_TABLE.items()),
        *(f"agent.state {state.value} x {event.value}" for state, event in AGENT_TABLE),
    }
    found = {f"fault.{kind}" for kind in FAULTS} | {f"moment.{name}" for name in MOMENTS} | cells | {*OTHERS}
    return frozenset(found - NEVER.keys())


EXPECTED = expected()


def never_taken(edges: Mapping[str, int], seeds: int) -> list[str]:
    """The edges that a run of so many seeds should have taken and has not."""
    if seeds < FULL_SEEDS:
        return []
    wanted = EXPECTED if seeds >= WHOLE_SEEDS else EXPECTED - RARE
    return sorted(edge for edge in wanted if not edges.get(edge))
