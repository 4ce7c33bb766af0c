"""What the commands share: the configuration option, and how a command gives up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voxfleet_agent.config import AgentConfig, ConfigError, load_config

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The agent's configuration file (YAML).", metavar="FILE")
]


def loaded(file: Path, code: int = 1) -> AgentConfig:
    """The configuration. Ends the command with a message, and with `code`, when it cannot be used."""
    try:
        return load_config(file)
    except ConfigError as error:
        raise give_up(error, code) from error


def give_up(error: object, code: int = 1) -> typer.Exit:
    """Prints why; raise what it returns. Exit 1: it did not work; 2: it was asked wrongly."""
    if isinstance(error, OSError) and isinstance(error.filename, str):
        error = f"{error.filename}: {error.strerror}"
    typer.echo(f"voxfleet-agent: {error}", err=True)
    return typer.Exit(code)
