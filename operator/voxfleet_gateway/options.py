"""The gateway's settings, which are fixed when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    namespace: str = "voxfleet-system"
    """Holds the Secrets of MacAgents."""
    watch_namespaces: tuple[str, ...] = ()
    """Endpoints elsewhere are not served; empty for all namespaces."""
    host: str = "127.0.0.1"
    port: int = 8780
    """0 for any free port."""
    health_host: str = "127.0.0.1"
    health_port: int | None = None
    """None for no health server, 0 for any free port."""
    max_sessions: int = 256
    drain_seconds: float = 30.0
    """How long sessions may go on after SIGTERM."""
    kubeconfig: Path | None = None
