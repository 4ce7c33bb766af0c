"""`voxfleet-agent run`: runs a job on this machine, without a cluster."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated

import psutil
import typer

from voxfleet_agent import core_dumps, mlx_audio_names
from voxfleet_agent.aws_environment import CredentialsMissing, from_environment, https_of
from voxfleet_agent.commands.config_option import give_up, loaded
from voxfleet_agent.commands.log_file import log_into
from voxfleet_agent.commands.output import TextFormat, TextOption
from voxfleet_agent.exit_deadline import run_to_the_end
from voxfleet_agent.standalone import run_paths
from voxfleet_agent.standalone.attempt_specs import AttemptSpecs
from voxfleet_agent.standalone.job_documents import DocumentError, read_files
from voxfleet_agent.standalone.mlx_audio_settings import (
    SettingsConflict,
    settings_of_agent,
    settle_settings,
    with_defaults,
)
from voxfleet_agent.standalone.progress import progress_reporter
from voxfleet_agent.standalone.run_paths import OptionError, RunPaths, make_output_folder, remove_empty
from voxfleet_agent.standalone.run_verdict import RunEnding
from voxfleet_agent.standalone.summary import RunSummary, summary_json, summary_text
from voxfleet_api.protocol import S3Credentials

RUN_EXAMPLES = """Examples:

\b
  voxfleet-agent run -f job.yaml -f contract.yaml         the laptop baseline
  voxfleet-agent run -f night.yaml --lanes 2 -o json
  voxfleet-agent run -f job.yaml -f contract.yaml -c agent.yaml
  voxfleet-agent run -f night.yaml --allow file:///archive/ --retry-failed
  MLX_AUDIO_BATCH_SIZE=8 TMPDIR=/Volumes/fast voxfleet-agent run -f night.yaml
"""
EXIT_UNUSABLE = 2
EXIT_CODES = {RunEnding.COMPLETE: 0, RunEnding.FAILED: 1, RunEnding.REFUSED: EXIT_UNUSABLE, RunEnding.PARKED: 130}


def run(
    file: Annotated[
        list[Path],
        typer.Option("--file", "-f", help="YAML of the AudioBatchJob and its VoiceContract.", metavar="FILE"),
    ],
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Use this agent's scratch, pools and allow-list.", metavar="FILE"),
    ] = None,
    lanes: Annotated[
        int | None, typer.Option("--lanes", help="Lanes to work with; absent: 1, or the agent's.", metavar="N")
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", help="Another prefix that clips may lie below.", metavar="PREFIX"),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option("--state", help="Where journals and ladders are kept.", metavar="FOLDER", show_default=False),
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Try clips of a finished run again that failed or did not run."),
    ] = False,
    output: TextOption = TextFormat.TEXT,
) -> None:
    """Runs the very same AudioBatchJob as a fleet does, on this machine and without a cluster.

    It writes the same output folder. The job's name, what its documents say and the MLX_AUDIO_ names that change a run
    make the folder's name, so the same command goes on where an earlier one stopped, by Ctrl-C or by a crash. Of a run
    that had finished it says so and prints its summary; --retry-failed tries those of its clips again that failed, once
    the cause is mended, and another metadata.name runs it anew. Progress goes to standard error, the summary to
    standard output.

    Without -c it may touch what the job names, and honours TMPDIR and the MLX_AUDIO_ names (see `voxfleet-agent env`);
    a name that contradicts the contract is refused. With -c it uses that agent's scratch, lanes, model cache and
    allow-list, which only works while that agent does not run. A job that names credentialsSecretRef gets
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION and AWS_ENDPOINT_URL from the environment.
    No machine-hours are signed. The job's activeDeadlineSeconds and maxMachineSeconds stop the run; what only chooses
    among Macs is told and not looked at.

    Ends with 0 when the job is complete, 1 when it failed or is beyond the contract's limits, 2 when documents,
    environment, options, input or model are wrong and nothing ran, 70 when it could not end because a disk or a file
    server does not answer (the same command goes on), 130 when it was interrupted.
    """
    try:
        specs, paths, credentials = _prepare(file, config, lanes, allow or [], state)
    except (DocumentError, SettingsConflict, OptionError, CredentialsMissing) as error:
        raise give_up(error, 2) from error
    summary = _run(specs, paths, credentials, retry_failed)
    if output is TextFormat.JSON:
        typer.echo(json.dumps(summary_json(summary), indent=2))
    else:
        typer.echo(summary_text(summary))
    raise typer.Exit(EXIT_UNUSABLE if summary.verdict.unusable else EXIT_CODES[summary.verdict.ending])


def _prepare(
    files: list[Path], config: Path | None, lanes: int | None, allow: list[str], state: Path | None
) -> tuple[AttemptSpecs, RunPaths, S3Credentials | None]:
    documents = read_files(files)
    job, contract = documents.job, documents.contract.spec
    credentials = from_environment(os.environ) if job.spec.credentials_secret_ref is not None else None
    if config is not None:
        if allow or state is not None:
            name, field = ("--allow", "allow") if allow else ("--state", "stateDir")
            raise OptionError(f"{name}: with -c the configuration's {field} counts; leave one of the two out")
        agent = loaded(config, 2)
        settings = settings_of_agent(agent, agent.quarantine_dir, contract, job.spec.task)
        specs = AttemptSpecs.of(job, contract, settings.settings())
        return specs, run_paths.with_agent(specs, agent, lanes), credentials
    settings = settle_settings(os.environ, Path.home(), contract, job.spec.task)
    specs = AttemptSpecs.of(job, with_defaults(contract, settings), settings.settings())
    paths = run_paths.without_agent(
        specs,
        settings,
        state or run_paths.state_home(os.environ, Path.home()),
        run_paths.cache_home(os.environ, Path.home()),
        psutil.virtual_memory().total,
        lanes,
        allow,
        https_of(credentials),
    )
    return specs, paths, credentials


def _run(specs: AttemptSpecs, paths: RunPaths, credentials: S3Credentials | None, retry_failed: bool) -> RunSummary:
    from voxfleet_agent.folder_lock import make_private
    from voxfleet_agent.standalone.run_session import RunRefused, refuse_unmounted, run_job  # slow to import

    core_dumps.hide_memory()
    made: tuple[Path, ...] = ()
    try:
        refuse_unmounted(paths.settings)
        if paths.settings.of_one_run:
            made = make_output_folder(specs.job.spec.output.uri)
        make_private(paths.state)
        with log_into(paths.log), progress_reporter(sys.stderr) as reporter:
            for name, nearest in mlx_audio_names.unknown_names(os.environ).items():
                reporter.say(mlx_audio_names.warning(name, nearest))
            reporter.say(f"{specs.job.metadata.name}: results go to {specs.output_folder}")
            running = run_job(specs, paths, credentials, reporter, retry_failed=retry_failed)
            return run_to_the_end(lambda stopping: _until_signalled(running, stopping), (RunRefused, OSError))
    except asyncio.CancelledError:
        raise give_up("interrupted before it began", EXIT_CODES[RunEnding.PARKED]) from None
    except DocumentError as error:
        raise give_up(error, 2) from error
    except (RunRefused, OSError) as error:
        raise give_up(error) from error
    except sqlite3.Error as error:
        raise give_up(f"{paths.settings.journal}: {error}; free its volume, and the same command goes on") from error
    finally:
        remove_empty(*made)


async def _until_signalled(running: Coroutine[None, None, RunSummary], stopping: Callable[[], None]) -> RunSummary:
    """Parks the run on the first SIGINT or SIGTERM; a second signal ends the process in the usual way."""
    task = asyncio.ensure_future(running)
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def park() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)
        stopping()
        task.cancel()

    for number in numbers:
        loop.add_signal_handler(number, park)
    return await task
