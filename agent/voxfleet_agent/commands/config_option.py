"""The configuration option, which several commands share, and how a command gives up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voxfleet_agent.config import AgentConfig, ConfigError, load_config

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The agent's configuration file (YAML).", metavar="FILE")
]


def loaded(file: Path, code: int = 1) -> AgentConfig:
    """Loads the configuration. Ends the command with a message and exit status `code` when it cannot be used."""
    try:
        return load_config(file)
    except ConfigError as error:
        raise give_up(error, code) from error


def give_up(error: object, code: int = 1) -> typer.Exit:
    """Prints the error; the caller raises the result. Exit status 1: the command failed; 2: its arguments are wrong."""
    if isinstance(error, OSError) and isinstance(error.filename, str):
        error = f"{error.filename}: {error.strerror}"
    typer.echo(f"voxfleet-agent: {error}", err=True)
    return typer.Exit(code)
