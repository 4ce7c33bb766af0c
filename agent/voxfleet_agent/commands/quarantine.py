"""`voxfleet-agent quarantine`: lists and discards the clips that contracts retain on this Mac."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from voxfleet_agent.clock import SystemClock, timestamp
from voxfleet_agent.commands.config_option import give_up, loaded
from voxfleet_agent.commands.output import TableFormat, TableOption, show
from voxfleet_agent.quarantine import QuarantineStore, RetainedClip
from voxfleet_agent.standalone.mlx_audio_settings import SettingsConflict, settle_settings

quarantine_app = typer.Typer(
    help="Look at quarantined clips that contracts asked to retain here, and discard them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="The agent's configuration; absent: of runs without a cluster.", metavar="FILE"
    ),
]

LIST_EXAMPLES = """Examples:

\b
  voxfleet-agent quarantine list -c agent.yaml
  voxfleet-agent quarantine list -o json          of `voxfleet-agent run`
"""
DISCARD_EXAMPLES = """Examples:

\b
  voxfleet-agent quarantine discard -c agent.yaml --job speech/nightly-0f5b6a3e
  voxfleet-agent quarantine discard -c agent.yaml --job speech/nightly-0f5b6a3e --index 7 --index 12
  voxfleet-agent quarantine discard -c agent.yaml --all
"""


@quarantine_app.command("list", epilog=LIST_EXAMPLES)
def list_(config: ConfigOption = None, output: TableOption = TableFormat.TABLE) -> None:
    """Shows each retained clip: job, index, failure class, size, until when it is kept, and its folder.

    Works while the agent runs.
    """
    clips = _clips(_open(config))
    if output is TableFormat.JSON:
        typer.echo(json.dumps([_clip_json(clip) for clip in clips], indent=2))
        return
    if not clips:
        typer.echo("no clip is retained; a contract asks for it with quarantine.retainFor")
        return
    table = Table("Job", "Index", "Class", "Bytes", "Kept until", "Folder")
    for clip in clips:
        table.add_row(_job(clip), str(clip.index), _class(clip), str(clip.size_bytes), _until(clip), str(clip.path))
    show(table)


@quarantine_app.command("discard", epilog=DISCARD_EXAMPLES)
def discard(
    config: ConfigOption = None,
    job: Annotated[
        str | None, typer.Option("--job", help="Clips of this job, as `list` names it.", metavar="NAMESPACE/JOB-UID8")
    ] = None,
    index: Annotated[
        list[int] | None, typer.Option("--index", help="This clip of the job; may be repeated.", metavar="N")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every retained clip.")] = False,
    output: TableOption = TableFormat.TABLE,
) -> None:
    """Deletes retained clips and their evidence, and says how many bytes were freed.

    The job's own errors.jsonl and quarantine/ in its output stay. Ends with 1 when no clip is meant.
    """
    if all_ == (job is not None) or (index and job is None):
        raise give_up("write --job, with --index or without, or --all", 2)
    quarantine = _open(config)
    selected = [
        clip for clip in _clips(quarantine) if all_ or (_job(clip) == job and (not index or clip.index in index))
    ]
    try:
        freed_bytes = quarantine.discard(selected)
    except OSError as error:
        raise give_up(error) from error
    if output is TableFormat.JSON:
        typer.echo(
            json.dumps({"discarded": [_clip_json(clip) for clip in selected], "freedBytes": freed_bytes}, indent=2)
        )
    else:
        typer.echo(f"discarded {len(selected)} clip{'s' * (len(selected) != 1)}, freed {freed_bytes} bytes")
    if not selected and not all_:
        raise give_up("no retained clip is meant; `voxfleet-agent quarantine list` names them")


def _open(config: Path | None) -> QuarantineStore:
    if config is not None:
        agent = loaded(config)
        return QuarantineStore(agent.quarantine_dir, agent.scratch.quarantine_quota_bytes, SystemClock())
    try:
        folder = settle_settings(os.environ, Path.home()).quarantine
    except SettingsConflict as error:
        raise give_up(error, 2) from error
    return QuarantineStore(folder, 0, SystemClock())


def _clips(quarantine: QuarantineStore) -> list[RetainedClip]:
    try:
        return list(quarantine.clips())
    except OSError as error:
        raise give_up(f"the quarantine folder cannot be read: {error.strerror}") from error


def _clip_json(clip: RetainedClip) -> dict[str, object]:
    return {
        "job": _job(clip),
        "index": clip.index,
        "class": _class(clip),
        "sizeBytes": clip.size_bytes,
        "keptAt": timestamp(clip.kept_at),
        "expiresAt": timestamp(clip.expires_at),
        "path": str(clip.path),
    }


def _job(clip: RetainedClip) -> str:
    return f"{clip.namespace}/{clip.job}"


def _class(clip: RetainedClip) -> str:
    return clip.name.partition("-")[2]


def _until(clip: RetainedClip) -> str:
    return clip.expires_at.isoformat(sep=" ", timespec="minutes")
