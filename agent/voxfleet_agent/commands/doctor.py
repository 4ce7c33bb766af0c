"""`voxfleet-agent doctor`: checks whether this Mac is fit for work, and says how to fix it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from voxfleet_agent.commands.config_option import loaded
from voxfleet_agent.commands.output import TableFormat, TableOption, show
from voxfleet_agent.doctor.finding import Finding, Health
from voxfleet_agent.doctor.lanes import check_lanes
from voxfleet_agent.doctor.listener import check_listener
from voxfleet_agent.doctor.memory_and_clock import check_machine
from voxfleet_agent.doctor.runtime import check_runtime
from voxfleet_agent.doctor.secrets import check_secrets
from voxfleet_agent.doctor.volumes import check_volumes

DOCTOR_EXAMPLES = """Examples:

\b
  voxfleet-agent doctor                       versions, decoders, memory, clock
  voxfleet-agent doctor -c agent.yaml         scratch, token, key and permissions too
  voxfleet-agent doctor -c agent.yaml -o json
"""
_STYLE = {Health.OK: "green", Health.WARN: "yellow", Health.FAIL: "bold red"}


def doctor(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The agent's configuration file (YAML).", metavar="FILE")
    ] = None,
    output: TableOption = TableFormat.TABLE,
) -> None:
    """Checks this machine and says how to mend what it finds; ends with 1 when something fails."""
    findings = examine(config)
    if output is TableFormat.JSON:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _show(findings)
    if any(finding.health is Health.FAIL for finding in findings):
        raise typer.Exit(1)


def examine(file: Path | None) -> list[Finding]:
    """All checks; those of a configuration where one is given."""
    config = loaded(file) if file is not None else None
    findings = check_runtime()
    findings += check_machine() if config is None else check_machine(config.pools, config.reserved)
    if config is not None and file is not None:
        findings += [
            *check_volumes(config),
            *check_secrets(config),
            *check_listener(config),
            *check_lanes(config, file),
        ]
    if sys.platform == "darwin":
        from voxfleet_agent.doctor.macos import check_macos

        findings += check_macos(config.scratch.path if config is not None else Path.home())
    return findings


def _show(findings: list[Finding]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "Check", "Found", "Mend"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        health = Text(finding.health.value, _STYLE[finding.health])
        table.add_row(health, finding.name, finding.found, finding.mend)
    show(table)
