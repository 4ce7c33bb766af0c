"""`voxfleet-agent repro`: checks a run's repro bundle against this machine."""

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
from voxfleet_agent.commands.replay import ModelOption, ShowTextOption
from voxfleet_agent.exit_deadline import run_to_the_end
from voxfleet_agent.standalone.mlx_audio_settings import SettingsConflict
from voxfleet_agent.standalone.progress import progress_reporter
from voxfleet_agent.standalone.rerun_clips import MAX_CLIPS
from voxfleet_agent.standalone.run_paths import state_home

repro_app = typer.Typer(
    help="Compare a finished run's repro bundle with this machine.", no_args_is_help=True, rich_markup_mode=None
)
VERIFY_EXAMPLES = """Examples:

\b
  voxfleet-agent repro verify /out/nightly-0f5b6a3e/repro/bundle.json
  voxfleet-agent repro verify s3://out/nightly-0f5b6a3e/repro/bundle.json --sample 50 --seed 7 -o json
"""


@repro_app.callback()
def _group() -> None:
    """Keeps `verify` a command of its own."""


@repro_app.command("verify", epilog=VERIFY_EXAMPLES)
def verify(
    bundle: Annotated[str, typer.Argument(help="repro/bundle.json of a finished run.", show_default=False)],
    sample: Annotated[
        int, typer.Option("--sample", min=0, max=MAX_CLIPS, help="How many clips to run again.", metavar="N")
    ] = 10,
    seed: Annotated[int, typer.Option("--seed", help="Chooses the sample.", metavar="N")] = 0,
    model: ModelOption = None,
    show_text: ShowTextOption = False,
    output: TableOption = TableFormat.TABLE,
) -> None:
    """Checks every file that a bundle names, its model and versions, and runs a sample of its clips again.

    Changed files and other weights are errors; another chip or version is a warning. The sample is taken from the clips
    with a result; their texts must be the same, and old and new times stand side by side. A clip that gives another
    text, or other audio, is NondeterministicReplay.

    Ends with 0 when all is the same, 1 when something differs, 2 when the run cannot be read, or has no clip that could
    be run again, 70 when a disk or a file server does not answer.
    """
    from voxfleet_agent.finished_runs.repro_check import ModelNotNamed
    from voxfleet_agent.finished_runs.run_files import UnreadableRun
    from voxfleet_agent.finished_runs.tables import verification_json, verification_tables
    from voxfleet_agent.folder_lock import make_private
    from voxfleet_agent.standalone import verification  # slow to import
    from voxfleet_agent.standalone.run_session import RunRefused

    core_dumps.hide_memory()
    try:
        state = state_home(os.environ, Path.home())
        make_private(state)
        with log_into(state / "again-log.jsonl"), progress_reporter(sys.stderr) as reporter:
            check = run_to_the_end(
                lambda _: verification.verify(bundle, sample, seed, model, os.environ, Path.home(), reporter)
            )
    except (UnreadableRun, RunRefused, ModelNotNamed, CredentialsMissing, SettingsConflict, OSError) as error:
        raise give_up(error, 2) from error
    if output is TableFormat.JSON:
        typer.echo(json.dumps(verification_json(check, show_text=show_text), indent=2))
    else:
        show(*verification_tables(check, show_text=show_text))
    if not check.same:
        raise typer.Exit(1)
    if check.not_verified is not None:
        raise typer.Exit(2)
