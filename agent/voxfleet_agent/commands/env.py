"""`voxfleet-agent env`: prints the environment variables that a runbook can grep."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from voxfleet_agent import mlx_audio_names
from voxfleet_agent.commands.config_option import give_up, loaded
from voxfleet_agent.standalone import mlx_audio_settings
from voxfleet_agent.standalone.job_documents import DocumentError, read_files
from voxfleet_agent.standalone.mlx_audio_settings import SettingsConflict
from voxfleet_api.kinds.job_task import Task

ENV_EXAMPLES = """Examples:

\b
  voxfleet-agent env                              what is set, and the defaults
  voxfleet-agent env -f job.yaml                  what holds for this job and its contract
  voxfleet-agent env -c agent.yaml                what this Mac's agent works with
  eval "$(voxfleet-agent env -f job.yaml)"
"""


def env(
    file: Annotated[
        list[Path] | None, typer.Option("--file", "-f", help="YAML of the job and its contract.", metavar="FILE")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The agent's configuration file (YAML).", metavar="FILE")
    ] = None,
) -> None:
    """Prints TMPDIR and the MLX_AUDIO_ names as export lines for a shell.

    Without -c they come from the environment, the contract and the defaults, with -c from that configuration. Ends
    with 2 when a name that is set contradicts the contract, or a file cannot be used.
    """
    try:
        documents = read_files(file) if file else None
        contract = documents.contract.spec if documents is not None else None
        task = documents.job.spec.task if documents is not None else Task.TRANSCRIBE
        if config is not None:
            agent_config = loaded(config, 2)
            settings = mlx_audio_settings.settings_of_agent(agent_config, agent_config.quarantine_dir, contract, task)
        else:
            settings = mlx_audio_settings.settle_settings(os.environ, Path.home(), contract, task)
    except (DocumentError, SettingsConflict) as error:
        raise give_up(error, 2) from error
    for name, nearest in mlx_audio_names.unknown_names(os.environ).items():
        typer.echo(mlx_audio_names.warning(name, nearest), err=True)
    for line in settings.export_lines():
        typer.echo(line)
