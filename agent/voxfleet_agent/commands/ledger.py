"""`voxfleet-agent ledger`: exports and verifies this Mac's signed machine-hour rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from voxfleet_agent import ledger as ledgers
from voxfleet_agent.commands.config_option import ConfigOption, give_up, loaded
from voxfleet_agent.config import AgentConfig, ConfigError
from voxfleet_agent.journal.journal import JournalError, open_read_only
from voxfleet_api.ledger import LedgerError

ledger_app = typer.Typer(
    help="Look at this Mac's signed machine-hour rows.", no_args_is_help=True, rich_markup_mode=None
)


@ledger_app.command("export", epilog="Example: voxfleet-agent ledger export -c agent.yaml > rows.jsonl")
def export(config: ConfigOption) -> None:
    """Prints every signed row as a JSON line, oldest first. Works while the agent runs."""
    for _, line in _rows(loaded(config)):
        typer.echo(line)


@ledger_app.command("verify", epilog="Example: voxfleet-agent ledger verify -c agent.yaml --rows rows.jsonl")
def verify(
    config: ConfigOption,
    rows: Annotated[
        Path | None, typer.Option("--rows", help="Verify an exported file instead of the journal.", metavar="FILE")
    ] = None,
) -> None:
    """Checks numbers, hashes and signatures; names the first bad row and ends with 1."""
    agent_config = loaded(config)
    try:
        lines = _rows(agent_config) if rows is None else _file_rows(rows)
        key = ledgers.public_key_text(ledgers.load_key(agent_config.ledger_key_file))
        heads = ledgers.verify_lines(lines, key)
    except (LedgerError, ConfigError, OSError) as error:
        raise give_up(error) from error
    for head in heads:
        typer.echo(f"chain {head.chain_id}: {head.sequence + 1} rows verified")
    if not heads:
        typer.echo("no rows yet")


def _rows(config: AgentConfig) -> Iterator[tuple[str, str]]:
    try:
        connection = open_read_only(config.journal_file)
    except JournalError as error:
        raise give_up(error) from error
    try:
        yield from ledgers.stored_rows(connection)
    finally:
        connection.close()


def _file_rows(file: Path) -> Iterator[tuple[str, str]]:
    with file.open(errors="replace") as opened:  # a line that is not text is not a signed row either
        for number, line in enumerate(opened, start=1):
            yield _row_name(line) or f"{file}:{number}", line


def _row_name(line: str) -> str | None:
    """Returns the name that a row carries, None when it cannot be read."""
    try:
        row = json.loads(line)["row"]
        return f"{row['chainId']}#{row['sequence']}"
    except (ValueError, KeyError, TypeError):
        return None
