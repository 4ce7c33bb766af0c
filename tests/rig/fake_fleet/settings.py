"""What a process of fake Macs is told, and what it tells once all of them serve."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

PORTS_NAME = "ports.json"
SETTINGS_NAME = "settings.json"
TOKEN = "the-token-of-every-fake-mac"


class FleetSettings(BaseModel):
    """`allow`: the URI prefixes that the Macs may use, and that their MacAgents open to all namespaces."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    names: tuple[str, ...]
    allow: tuple[str, ...]
    lanes: int = 1
    lost_after: str = "10m"
    load_seconds: float = 0.0
    clip_seconds: float = 0.0
    audio_milliseconds: int = 10_000
    quarantine_every: int | None = None


class FleetPorts(BaseModel):
    """The loopback port of each Mac."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ports: dict[str, int]
