"""What a run replaces in the product's modules, and puts back afterwards: tests in the same process must not see it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from tests.sim.api_server import ApiServer
from tests.sim.edges import CountingTable
from tests.sim.light_http import LightHttpx

from voxfleet_operator import kube, leader, watch
from voxfleet_operator.fleet import agent_client
from voxfleet_operator.reconcile.shard import decide as shard_decide
from voxfleet_operator.reconcile.statement import decide as statement_decide

CALM_RETRY_SECONDS = 6.0
"""Between two renewals of the Lease once nothing fails any more: a holder that renews every 6 s keeps it."""


SLOW_LEADER_FACTOR = 100.0
"""For a replica that leads alone, night after night."""


@contextmanager
def replaced(
    server: ApiServer, edges: Counter[str], statement_seconds: int, *, leader_factor: float = 1.0
) -> Iterator[None]:
    """Both modules parse what the server sends, and may share it, as the models are frozen.

    `leader_factor`: by how much longer the Lease and all its intervals are.
    """
    changes: list[tuple[ModuleType, str, Any]] = [
        (agent_client, "httpx", LightHttpx),
        (kube, "parse", server.parsed.parse),
        (watch, "parse", server.parsed.parse),
        (shard_decide, "TABLE", CountingTable(shard_decide.TABLE, edges, "shard.")),
        (shard_decide, "RECALLED", CountingTable(shard_decide.RECALLED, edges, "recall.", values=False)),
        (statement_decide, "INTERVAL_SECONDS", statement_seconds),
        (leader, "RETRY_SECONDS", leader.RETRY_SECONDS * leader_factor),
        (leader, "RENEW_DEADLINE_SECONDS", leader.RENEW_DEADLINE_SECONDS * leader_factor),
        (leader, "LEASE_SECONDS", int(leader.LEASE_SECONDS * leader_factor)),
    ]
    before = [(module, name, vars(module)[name]) for module, name, _ in changes]
    try:
        for module, name, value in changes:
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def renew_at_ease() -> None:
    """Until the end of the run, replicas look at the Lease less often."""
    leader.RETRY_SECONDS = CALM_RETRY_SECONDS
