"""`voxfleet-agent replay`: runs the slowest and longest clips of a finished run again."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from voxfleet_agent import core_dumps
from voxfleet_agent.aws_environment import CredentialsMissing
from voxfleet_agent.commands.config_option import give_up
from voxfleet_agent.commands.log_file import log_into
from voxfleet_agent.commands.output import TableFormat, TableOption, show
from voxfleet_agent.exit_deadline import run_to_the_end
from voxfleet_agent.finished_runs.tables import pairs_json, pairs_table
from voxfleet_agent.standalone.mlx_audio_settings import SettingsConflict
from voxfleet_agent.standalone.progress import progress_reporter
from voxfleet_agent.standalone.rerun_clips import MAX_CLIPS
from voxfleet_agent.standalone.run_paths import state_home

REPLAY_EXAMPLES = """Examples:

\b
  voxfleet-agent replay /out/nightly-0f5b6a3e
  voxfleet-agent replay --worst 5 --model /models/parakeet s3://out/nightly-0f5b6a3e/ -o json
"""
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="The run's model, if it is not where the job has it: commands, a folder, an address, or"
        " owner/name@revision of the hub.",
        show_default=False,
        metavar="MODEL",
    ),
]
ShowTextOption = Annotated[
    bool, typer.Option("--show-text", help="Print transcripts that differ; they are personal data.")
]


def replay(
    run: Annotated[str, typer.Argument(help="Folder of a finished run, or its address.", show_default=False)],
    worst: Annotated[int, typer.Option("--worst", min=1, max=MAX_CLIPS, help="How many clips.", metavar="N")] = 20,
    model: ModelOption = None,
    show_text: ShowTextOption = False,
    output: TableOption = TableFormat.TABLE,
) -> None:
    """Runs the slowest and the longest clips of a finished run again, from where its input has them.

    The two kinds take turns, the worst first. The clips go through the very same stages with the run's contract and
    settings, into a folder that is removed afterwards; old and new times stand side by side. Files that have changed
    since the run are not transcribed but shown as ChecksumMismatch; a clip that gives another text, other times or
    other audio is NondeterministicReplay.

    Ends with 0 when every transcript is the same, 1 when one differs, 2 when the run cannot be read or run again, 70
    when a disk or a file server does not answer.
    """
    from voxfleet_agent.finished_runs.repro_check import ModelNotNamed
    from voxfleet_agent.finished_runs.run_files import UnreadableRun
    from voxfleet_agent.folder_lock import make_private
    from voxfleet_agent.standalone import verification  # slow to import
    from voxfleet_agent.standalone.run_session import RunRefused

    core_dumps.hide_memory()
    try:
        state = state_home(os.environ, Path.home())
        make_private(state)
        with log_into(state / "again-log.jsonl"), progress_reporter(sys.stderr) as reporter:
            pairs = run_to_the_end(lambda _: verification.replay(run, worst, model, os.environ, Path.home(), reporter))
    except (UnreadableRun, RunRefused, ModelNotNamed, CredentialsMissing, SettingsConflict, OSError) as error:
        raise give_up(error, 2) from error
    same = all(pair.same for pair in pairs)
    if output is TableFormat.JSON:
        typer.echo(json.dumps({"same": same, "clips": pairs_json(pairs, show_text=show_text)}, indent=2))
    else:
        show(pairs_table(pairs, show_text=show_text))
    if not same:
        raise typer.Exit(1)
