"""Writes an agent's configuration file with only the required fields."""

from __future__ import annotations

from pathlib import Path

import yaml


def write_agent_config(folder: Path, scratch: Path | None = None) -> Path:
    """`scratch`: the scratch folder; absent: one in `folder`."""
    file = folder / "agent.yaml"
    content = {
        "stateDir": str(folder / "state"),
        "tokenFile": str(folder / "token"),
        "ledgerKeyFile": str(folder / "ledger.pem"),
        "scratch": {"path": str(scratch or folder / "scratch"), "quota": "1Gi"},
    }
    file.write_text(yaml.safe_dump(content))
    return file
