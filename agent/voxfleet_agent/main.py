"""The command `voxfleet-agent`."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from voxfleet_agent import ledger as ledgers
from voxfleet_agent import logs
from voxfleet_agent.config import EXAMPLE, AgentConfig, ConfigError, create_private_file, load_config
from voxfleet_agent.journal.journal import JournalError, open_read_only
from voxfleet_api.ledger import LedgerError

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The agent's configuration file (YAML).", metavar="FILE")
]

app = typer.Typer(
    name="voxfleet-agent",
    help="Runs speech work on this Mac for a VoxFleet operator and signs the machine-hours it took.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
ledger_app = typer.Typer(
    help="Look at this Mac's signed machine-hour rows.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(ledger_app, name="ledger")


@app.command(
    epilog="Example: voxfleet-agent init --config agent.yaml\n\nA configuration file:\n\n\b\n" + EXAMPLE,
)
def init(config: ConfigOption) -> None:
    """Creates the ledger key and the token (mode 0600) unless they exist; prints the public key.

    Put the public key into MacAgent.spec.ledgerPublicKey, and the token into the Secret of MacAgent.spec.tokenRef.
    """
    loaded = _load(config)
    try:
        for file, created in (
            (loaded.ledger_key_file, ledgers.create_key_file(loaded.ledger_key_file)),
            (loaded.token_file, create_private_file(loaded.token_file, secrets.token_urlsafe(32).encode() + b"\n")),
        ):
            typer.echo(f"{'created' if created else 'kept'} {file}", err=True)
        typer.echo(ledgers.public_key_text(ledgers.load_key(loaded.ledger_key_file)))
    except (ConfigError, OSError) as error:
        raise _give_up(error) from error


@app.command(epilog="Example: voxfleet-agent serve --config agent.yaml")
def serve(config: ConfigOption) -> None:
    """Serves attempts on the loopback address until SIGTERM; logs JSON lines to standard error."""
    from voxfleet_agent.agent import run_agent  # slow to import; the other commands do without

    loaded = _load(config)
    logs.configure()
    try:
        asyncio.run(run_agent(loaded))
    except (ConfigError, JournalError, LedgerError, OSError) as error:
        raise _give_up(error) from error


@ledger_app.command("export", epilog="Example: voxfleet-agent ledger export -c agent.yaml > rows.jsonl")
def export(config: ConfigOption) -> None:
    """Prints every signed row as a JSON line, oldest first. Works while the agent runs."""
    for _, line in _rows(_load(config)):
        typer.echo(line)


@ledger_app.command("verify", epilog="Example: voxfleet-agent ledger verify -c agent.yaml --rows rows.jsonl")
def verify(
    config: ConfigOption,
    rows: Annotated[
        Path | None, typer.Option("--rows", help="Verify an exported file instead of the journal.", metavar="FILE")
    ] = None,
) -> None:
    """Checks numbers, hashes and signatures; names the first bad row and ends with 1."""
    loaded = _load(config)
    try:
        lines = _rows(loaded) if rows is None else _file_rows(rows)
        key = ledgers.public_key_text(ledgers.load_key(loaded.ledger_key_file))
        heads = ledgers.verify_lines(lines, key)
    except (LedgerError, ConfigError, OSError) as error:
        raise _give_up(error) from error
    for head in heads:
        typer.echo(f"chain {head.chain_id}: {head.sequence + 1} rows verified")
    if not heads:
        typer.echo("no rows yet")


def _load(file: Path) -> AgentConfig:
    try:
        return load_config(file)
    except ConfigError as error:
        raise _give_up(error) from error


def _rows(config: AgentConfig) -> Iterator[tuple[str, str]]:
    try:
        connection = open_read_only(config.journal_file)
    except JournalError as error:
        raise _give_up(error) from error
    try:
        yield from ledgers.stored_rows(connection)
    finally:
        connection.close()


def _file_rows(file: Path) -> Iterator[tuple[str, str]]:
    with file.open() as opened:
        for number, line in enumerate(opened, start=1):
            yield _row_name(line) or f"{file}:{number}", line


def _row_name(line: str) -> str | None:
    """The name that a row gives itself, as far as it can still be read."""
    try:
        row = json.loads(line)["row"]
        return f"{row['chainId']}#{row['sequence']}"
    except (ValueError, KeyError, TypeError):
        return None


def _give_up(error: Exception) -> typer.Exit:
    typer.echo(f"voxfleet-agent: {error}", err=True)
    return typer.Exit(1)


def main() -> None:
    app(prog_name="voxfleet-agent")
