"""`voxfleet-agent ledger`: lists, exports and verifies this Mac's signed machine-hour rows."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from voxfleet_agent import ledger as ledgers
from voxfleet_agent.commands.config_option import ConfigOption, give_up, loaded
from voxfleet_agent.config import AgentConfig, ConfigError
from voxfleet_agent.folder_lock import FolderInUseError
from voxfleet_agent.journal.journal import Journal, JournalError, open_read_only
from voxfleet_api.ledger import LedgerError, SignedRow
from voxfleet_api.protocol import LedgerChain
from voxfleet_api.quantities import seconds_text

ledger_app = typer.Typer(
    help="Look at this Mac's signed machine-hour rows.", no_args_is_help=True, rich_markup_mode=None
)
_COLUMNS = "number\tstart\tend\tseconds\tactivity\tlane\tprice class\towner\tbilling key\tclips\taudio seconds"


@ledger_app.command("list", epilog="Example: voxfleet-agent ledger list -c agent.yaml --last 20")
def list_rows(
    config: ConfigOption,
    last: Annotated[
        int, typer.Option("--last", min=0, help="Show only so many of each chain's newest rows.", metavar="ROWS")
    ] = 20,
) -> None:
    """Shows every chain with its key, the current one first, and its newest rows. Works while the agent runs."""
    with closing(_opened(loaded(config))) as db:
        for number, chain in enumerate(ledgers.chains(db)):
            typer.echo(_chain_text(chain, current=number == 0))
            page = ledgers.page_after(db, chain.chain_id, chain.sequence - last, max(last, 1)) if last else None
            if page is not None and page.rows:
                typer.echo(_COLUMNS)
            for signed in () if page is None else page.rows:
                typer.echo(_row_text(signed))


@ledger_app.command("export", epilog="Example: voxfleet-agent ledger export -c agent.yaml > rows.jsonl")
def export(config: ConfigOption) -> None:
    """Prints every signed row of every chain as a JSON line, oldest first. Works while the agent runs."""
    with closing(_opened(loaded(config))) as db:
        for _, line in ledgers.stored_rows(db):
            typer.echo(line)


@ledger_app.command("verify", epilog="Example: voxfleet-agent ledger verify -c agent.yaml --rows rows.jsonl")
def verify(
    config: ConfigOption,
    rows: Annotated[
        Path | None, typer.Option("--rows", help="Verify an exported file instead of the journal.", metavar="FILE")
    ] = None,
) -> None:
    """Checks numbers, hashes and signatures of all chains; names the first bad row and ends with 1.

    Rows that were cut off at the end show only in the head: compare it with the cursor in the statement.
    """
    agent_config = loaded(config)
    try:
        current = ledgers.public_key_text(ledgers.load_key(agent_config.ledger_key_file))
        if rows is not None:
            keys = _keys_if_any(agent_config)
            heads = ledgers.verify_lines(_file_rows(rows), lambda chain_id: keys.get(chain_id, current))
        else:
            with closing(_opened(agent_config)) as db:
                keys = _keys(db)
                heads = ledgers.verify_lines(ledgers.stored_rows(db), lambda chain_id: keys.get(chain_id, current))
    except (LedgerError, ConfigError, OSError) as error:
        raise give_up(error) from error
    for head in heads:
        typer.echo(f"chain {head.chain_id}: {head.sequence + 1} rows verified, up to hash {head.hash}")
    if not heads:
        typer.echo("no rows yet")


@ledger_app.command("new-chain", epilog="Example: voxfleet-agent ledger new-chain -c agent.yaml")
def new_chain(config: ConfigOption) -> None:
    """Begins a new chain of rows, after this Mac's state was restored from a copy. The agent must be stopped."""
    try:
        chain_id = asyncio.run(_begin_chain(loaded(config)))
    except (ConfigError, FolderInUseError, JournalError) as error:
        raise give_up(error) from error
    typer.echo(f"chain {chain_id} begins with the next row; start the agent again")


async def _begin_chain(config: AgentConfig) -> str:
    key = ledgers.public_key_text(ledgers.load_key(config.ledger_key_file))
    journal = await Journal.open(config.state_dir, config.journal_file)
    try:
        return await journal.write(lambda db: ledgers.begin_chain(db, key))
    finally:
        await journal.close()


def _opened(config: AgentConfig) -> sqlite3.Connection:
    try:
        return open_read_only(config.journal_file)
    except JournalError as error:
        raise give_up(error) from error


def _keys(db: sqlite3.Connection) -> Mapping[str, str]:
    return {chain.chain_id: chain.ledger_key for chain in ledgers.chains(db) if chain.ledger_key is not None}


def _keys_if_any(config: AgentConfig) -> Mapping[str, str]:
    """Those that the journal knows, which an exported file may be verified without."""
    try:
        with closing(open_read_only(config.journal_file)) as db:
            return _keys(db)
    except JournalError:
        return {}


def _chain_text(chain: LedgerChain, *, current: bool) -> str:
    rows = (
        "no rows yet" if chain.sequence < 0 else f"{chain.sequence + 1} rows, up to hash {chain.hash or 'unreadable'}"
    )
    return f"chain {chain.chain_id}{' (current)' if current else ''}: key {chain.ledger_key or 'unknown'}, {rows}"


def _row_text(signed: SignedRow) -> str:
    row, owner = signed.row, signed.row.held_for
    return "\t".join(
        (
            str(row.sequence),
            row.wall_start,
            row.wall_end,
            seconds_text(row.monotonic_milliseconds),
            row.activity,
            row.lane,
            row.price_class or "-",
            f"{owner.kind} {owner.namespace}/{owner.name}",
            row.billing_key or "-",
            str(row.clips),
            seconds_text(row.audio_milliseconds),
        )
    )


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
