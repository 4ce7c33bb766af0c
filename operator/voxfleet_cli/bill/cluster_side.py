"""What the cluster knows of a bill: statements, jobs, and the keys that are pinned for Macs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from voxfleet_api.kinds import AudioBatchJob, MacAgent, MachineHourStatement
from voxfleet_billing.chain_links import SettledUpTo
from voxfleet_operator.kube import Kube


@dataclass(frozen=True, slots=True)
class ClusterSide:
    statements: Sequence[MachineHourStatement]
    macs: Sequence[MacAgent]

    def pinned_keys(self, mac: str) -> set[str]:
        """Those of its MacAgent, and those by which rows were verified before they were counted."""
        current = {item.spec.ledger_public_key for item in self.macs if item.metadata.name == mac}
        counted = {
            cursor.ledger_key
            for statement in self.statements
            if statement.spec.mac == mac
            for cursor in statement.status.cursors
        }
        return current | counted

    def settled(self, mac: str, months: Sequence[str]) -> list[SettledUpTo]:
        return [
            SettledUpTo(statement.metadata.name, cursor.chain_id, cursor.sequence, cursor.hash)
            for statement in self.statements
            if statement.spec.mac == mac and statement.spec.month in months
            for cursor in statement.status.cursors
        ]


async def read_cluster(kube: Kube) -> ClusterSide:
    statements, _ = await kube.list(MachineHourStatement)
    macs, _ = await kube.list(MacAgent)
    return ClusterSide(statements, macs)


async def read_jobs(kube: Kube) -> list[AudioBatchJob]:
    """Of all namespaces."""
    return (await kube.list(AudioBatchJob))[0]
