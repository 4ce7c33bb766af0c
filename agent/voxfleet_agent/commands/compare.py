"""`voxfleet-agent compare`: two finished runs side by side."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from voxfleet_agent.commands.config_option import give_up
from voxfleet_agent.commands.output import TableFormat, TableOption, show
from voxfleet_agent.exit_deadline import run_to_the_end

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
    """Shows counts, throughput and latency of two runs, what they were told and ran on, and the clips that differ.

    Clips are matched by their id. Throughput is audio seconds per second of inference, so that a pause of one run does
    not count, and per second of wall time too where `voxfleet-agent run` made the run.

    Ends with 0 when both hold the same clips with the same transcripts and times, with 1 when something differs, with 2
    when one of them cannot be read, with 70 when a disk or a file server does not answer.
    """
    from voxfleet_agent.aws_environment import CredentialsMissing
    from voxfleet_agent.finished_runs import comparison, tables
    from voxfleet_agent.finished_runs.comparison import setup_differences
    from voxfleet_agent.finished_runs.run_files import FinishedRun, UnreadableRun, open_run
    from voxfleet_agent.stages.finalize.repro import ReproBundle

    async def read(location: str) -> tuple[FinishedRun, ReproBundle]:
        async with open_run(location, os.environ) as files:
            run = await files.finished()
            return run, await files.bundle(run.index)

    async def read_both(_: object) -> tuple[tuple[FinishedRun, ReproBundle], tuple[FinishedRun, ReproBundle]]:
        return await read(a), await read(b)

    try:
        (run_a, bundle_a), (run_b, bundle_b) = run_to_the_end(read_both)
    except (UnreadableRun, CredentialsMissing) as error:
        raise give_up(error, 2) from error
    wall_a, wall_b = (None if run.pace is None else run.pace.wall_milliseconds for run in (run_a, run_b))
    result = comparison.compare(run_a.rows, run_b.rows, wall_a, wall_b, setup_differences(bundle_a, bundle_b))
    if output is TableFormat.JSON:
        typer.echo(json.dumps(tables.comparison_json(result, show_text=show_text), indent=2))
    else:
        show(*tables.comparison_tables(result, show_text=show_text))
        show(*tables.failed_only_lines(result))
        show(
            f"{result.clips_of_both} clips are in both runs, {len(result.differences)} of them with another outcome;"
            f" {result.only_a} are in A alone, {result.only_b} in B alone."
        )
    if not result.same:
        raise typer.Exit(1)
