"""`voxfleet-agent compare`: two finished runs side by side."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Annotated

import typer
from rich.console import Console

from voxfleet_agent.commands.common import give_up
from voxfleet_agent.commands.output import TableFormat, TableOption

COMPARE_EXAMPLES = """Examples:

\b
  voxfleet-agent compare /out/nightly-0f5b6a3e /out/nightly-77d1c2b0
  voxfleet-agent compare s3://out/nightly-0f5b6a3e/ file:///out/nightly-77d1c2b0/ -o json
"""
RunArgument = Annotated[str, typer.Argument(help="Folder of a finished run, or its address.", show_default=False)]


def compare(
    a: RunArgument,
    b: RunArgument,
    output: TableOption = TableFormat.TABLE,
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Print the transcripts that differ; they are personal data.")
    ] = False,
) -> None:
    """Shows counts, throughput, latency and versions of two runs, and the clips whose outcome differs.

    Clips are matched by their id. Throughput is audio seconds per second of inference, so that a pause of one run does
    not count, and per second of wall time too where `voxfleet-agent run` made the run.

    Ends with 0 when both hold the same clips with the same transcripts, with 1 when something differs, with 2 when one
    of them cannot be read.
    """
    from voxfleet_agent.local import comparison, tables
    from voxfleet_agent.local.credentials import CredentialsMissing
    from voxfleet_agent.local.finished import FinishedRun, UnreadableRun, open_run

    async def read(place: str) -> FinishedRun:
        async with open_run(place, os.environ) as files:
            return await files.finished()

    try:
        runs = [asyncio.run(read(place)) for place in (a, b)]
    except (UnreadableRun, CredentialsMissing) as error:
        raise give_up(error, 2) from error
    walls = [None if run.pace is None else run.pace.wall_milliseconds for run in runs]
    found = comparison.compare(runs[0].rows, runs[1].rows, *walls)
    if output is TableFormat.JSON:
        typer.echo(json.dumps(tables.comparison_json(found, show_text=show_text), indent=2))
    else:
        console = Console()
        for table in tables.comparison_tables(found, show_text=show_text):
            console.print(table)
        console.print(
            f"{found.clips_of_both} clips are in both runs, {len(found.differences)} of them with another outcome;"
            f" {found.only_a} are in A alone, {found.only_b} in B alone."
        )
    if not found.same:
        raise typer.Exit(1)
