"""The command `voxfleet-agent`."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from voxfleet_agent import core_dumps, logs, mlx_audio_names
from voxfleet_agent import ledger as ledgers
from voxfleet_agent.commands.bench import bench_app
from voxfleet_agent.commands.compare import COMPARE_EXAMPLES, compare
from voxfleet_agent.commands.config_option import ConfigOption, give_up, loaded
from voxfleet_agent.commands.doctor import DOCTOR_EXAMPLES, doctor
from voxfleet_agent.commands.env import ENV_EXAMPLES, env
from voxfleet_agent.commands.install import INSTALL_EXAMPLES, install
from voxfleet_agent.commands.ladder import LADDER_EXAMPLES, ladder
from voxfleet_agent.commands.ledger import ledger_app
from voxfleet_agent.commands.quarantine import quarantine_app
from voxfleet_agent.commands.replay import REPLAY_EXAMPLES, replay
from voxfleet_agent.commands.repro import repro_app
from voxfleet_agent.commands.run import RUN_EXAMPLES, run
from voxfleet_agent.config import EXAMPLE, ConfigError, create_private_file
from voxfleet_agent.exit_deadline import exit_soon, run_to_the_end
from voxfleet_agent.folder_lock import FolderInUseError
from voxfleet_agent.journal.journal import JournalError
from voxfleet_api.ledger import LedgerError

app = typer.Typer(
    name="voxfleet-agent",
    help="Runs speech work on this Mac for a VoxFleet operator and signs the machine-hours it took.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command(epilog=RUN_EXAMPLES)(run)
app.command(epilog=COMPARE_EXAMPLES)(compare)
app.command(epilog=REPLAY_EXAMPLES)(replay)
app.add_typer(repro_app, name="repro")
app.command(epilog=ENV_EXAMPLES)(env)
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(ledger_app, name="ledger")
app.add_typer(bench_app, name="bench")
app.command(epilog=LADDER_EXAMPLES)(ladder)
app.command(epilog=DOCTOR_EXAMPLES)(doctor)
app.command(epilog=INSTALL_EXAMPLES)(install)


@app.command(
    epilog="Example: voxfleet-agent init --config agent.yaml\n\nA configuration file:\n\n\b\n" + EXAMPLE,
)
def init(config: ConfigOption) -> None:
    """Creates the ledger key and the tokens (mode 0600) unless they exist; prints the public key.

    Put the public key into MacAgent.spec.ledgerPublicKey, the token of tokenFile into the Secret of
    MacAgent.spec.tokenSecretRef, and that of sessionTokenFile, where the file names one, into the Secret of
    MacAgent.spec.sessionTokenSecretRef.
    """
    agent_config = loaded(config)
    tokens = [file for file in (agent_config.token_file, agent_config.session_token_file) if file is not None]
    try:
        for file, created in (
            (agent_config.ledger_key_file, ledgers.create_key_file(agent_config.ledger_key_file)),
            *((file, create_private_file(file, secrets.token_urlsafe(32).encode() + b"\n")) for file in tokens),
        ):
            typer.echo(f"{'created' if created else 'kept'} {file}", err=True)
        typer.echo(ledgers.public_key_text(ledgers.load_key(agent_config.ledger_key_file)))
    except (ConfigError, OSError) as error:
        raise give_up(error) from error


@app.command(epilog="Example: voxfleet-agent serve --config agent.yaml")
def serve(
    config: ConfigOption,
    log_file: Annotated[
        Path | None,
        typer.Option("--log-file", help="Log here, in at most 5 files of 20 MiB, and not to standard error."),
    ] = None,
) -> None:
    """Serves attempts on the loopback address until SIGTERM; logs JSON lines to standard error, or to --log-file."""
    from voxfleet_agent.daemon import run_agent  # slow to import, and the other commands do not need it

    agent_config = loaded(config)
    core_dumps.hide_memory()
    told = (ConfigError, FolderInUseError, JournalError, LedgerError, OSError)
    try:
        logs.configure(file=log_file)
        if log_file is not None:
            logs.bound_standard_error(log_file)
        for name, nearest in mlx_audio_names.unknown_names(os.environ).items():
            logs.logger("voxfleet.agent").warning(mlx_audio_names.warning(name, nearest), variable=name)
        run_to_the_end(lambda stopping: run_agent(agent_config, stopping), told)
    except told as error:
        raise give_up(error) from error


def main() -> None:
    code = 1
    try:
        app(prog_name="voxfleet-agent")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise
    finally:
        exit_soon(code)
