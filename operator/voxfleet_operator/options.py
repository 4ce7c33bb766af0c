"""The operator's settings, which are fixed when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class OperatorOptions:
    namespace: str = "voxfleet-system"
    """Holds the Lease and the Secrets of MacAgents."""
    lost_margin_seconds: float = 60.0
    progress_interval_seconds: float = 15.0
    retry_limit: int = 7
    health_host: str = "127.0.0.1"
    health_port: int | None = None
    """None for no health server, 0 for any free port."""
    kubeconfig: Path | None = None
    archive: str | None = None
    """Address of the ledger archive; None for none."""
    price_book: Path | None = None
    """A YAML file with prices, teams and budgets, which is read again when it changes; None: none are known."""
    watch_namespaces: tuple[str, ...] = ()
    """Jobs elsewhere are not looked at; empty for all namespaces."""
    gateway_url: str | None = None
    """Where clients call a gateway, without a slash at its end; None: nobody knows of one."""
