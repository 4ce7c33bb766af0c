"""`voxfleet-agent ladder`: shows the batch sizes that this Mac has measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from voxfleet_agent.commands.config_option import ConfigOption, give_up, loaded
from voxfleet_agent.commands.output import TableFormat, TableOption, console
from voxfleet_agent.ladder import estimates, knees
from voxfleet_agent.ladder.ladder_book import LadderFiles, short
from voxfleet_api.ladder_table import LadderTable, LadderTier

TABLE_WIDTH = 100
LADDER_EXAMPLES = """Examples:

  voxfleet-agent ladder -c agent.yaml --plot ladders.png

  voxfleet-agent ladder -c agent.yaml --model 3f2a --forget
"""


def ladder(
    config: ConfigOption,
    output: TableOption = TableFormat.TABLE,
    model: Annotated[
        str, typer.Option("--model", help="Only ladders of the model whose digest begins so.", metavar="DIGEST")
    ] = "",
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the ladders into this .png or .svg too.", metavar="FILE")
    ] = None,
    forget: Annotated[
        bool,
        typer.Option(
            "--forget",
            help="Remove the ladders after showing them; the next job of each measures, unless another Mac has it.",
        ),
    ] = False,
) -> None:
    """Shows the measured batch sizes: memory, speed, the knees, and which batch size is used and why.

    A ladder is measured when the first job of its contract, model and MLX versions runs here, where the contract
    declares batching.ladder; not for a model that works on one clip at a time. A job that ran out of memory lowers it
    for the next ones, until it is forgotten: --forget removes all ladders that it shows, so choose with --model.
    """
    if plot is not None:
        _require_drawable(plot)
    files = LadderFiles(loaded(config).ladder_dir)
    stored, unreadable = files.all()
    for name in unreadable:
        typer.echo(f"{name} cannot be read; it is measured anew when it is needed", err=True)
    wanted = model.removeprefix("sha256:")
    tables = [table for table in stored if table.model_digest.removeprefix("sha256:").startswith(wanted)]
    if output is TableFormat.JSON:
        typer.echo(json.dumps([table_json(table) for table in tables], indent=2))
    elif not tables:
        typer.echo("no ladder is stored; one is measured when a job runs whose contract declares batching.ladder")
    else:
        print_ladders(tables, console(TABLE_WIDTH))
    if plot is not None:
        _draw(tables, plot)
    if forget:
        _forget(files, tables)


def _forget(files: LadderFiles, tables: Sequence[LadderTable]) -> None:
    try:
        files.forget(tables)
    except OSError as error:
        raise give_up(f"a ladder below {files.folder} cannot be removed: {error.strerror}", 1) from error
    typer.echo(f"forgotten: {len(tables)}; the next job of each measures anew", err=True)


def table_json(table: LadderTable) -> dict[str, object]:
    """Returns the stored table with what follows from it: `why`, and per tier RTF and the plot's estimates."""
    dumped = table.dump()
    tiers = [
        {
            **tier.dump(),
            "realTimeFactor": round(estimates.real_time_factor(tier), 5),
            "audioSecondsPerSecond": round(tier.audio_seconds_per_second, 3),
            "scratchBytesPerMinute": round(estimates.scratch_bytes_per_minute(tier)),
            "multiplyAccumulatesPerSecondEstimate": _rounded(estimates.multiply_accumulates_per_second(table, tier)),
        }
        for tier in table.tiers
    ]
    return {**dumped, "tiers": tiers, "why": knees.explain(table)}


def print_ladders(tables: Sequence[LadderTable], out: Console) -> None:
    for table in tables:
        versions = ", ".join(f"{name} {version}" for name, version in table.versions.items())
        out.print(
            f"model {short(table.model_digest)}, contract {short(table.contract_digest)}, {table.sample_rate_hz} Hz\n"
            f"{table.chip}; {versions}; memory cap {estimates.mib_text(table.memory_cap_bytes)} MiB",
        )
        if table.measured_on is not None:
            out.print(f"measured on {table.measured_on}, whose chip, packages and memory cap are the same")
        if table.tiers:
            out.print(_grid(table))
        out.print(f"{knees.explain(table)}.\n")


def _grid(table: LadderTable) -> Table:
    grid = Table()
    for heading in (*estimates.FIGURE_HEADINGS, ""):
        grid.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    for tier in table.tiers:
        grid.add_row(*estimates.figures(tier), ", ".join(_marks(table, tier)))
    return grid


def _marks(table: LadderTable, tier: LadderTier) -> list[str]:
    marks = (
        (tier.batch_size == table.chosen, "used"),
        (tier.batch_size == table.memory_knee, "memory knee"),
        (tier.batch_size == table.latency_knee, "latency knee"),
        (tier.batch_size == table.throughput_knee, "throughput knee"),
        (knees.memory_bytes(tier) > table.memory_cap_bytes, "over the cap"),
    )
    return [text for holds, text in marks if holds]


def _require_drawable(file: Path) -> None:
    """Ends the command, before it shows anything, when the picture cannot be written."""
    try:
        from voxfleet_agent.ladder.plot import SUFFIXES  # matplotlib takes a second to load
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise give_up("--plot: matplotlib is not installed; run: python -m pip install 'voxfleet[plot]'", 2) from error

    if file.suffix.lower() not in SUFFIXES:
        raise give_up(f"--plot {file}: a picture's name ends in {' or '.join(SUFFIXES)}", 2)
    if not file.absolute().parent.is_dir():
        raise give_up(f"--plot {file}: its folder does not exist; make it first", 2)


def _draw(tables: Sequence[LadderTable], file: Path) -> None:
    from voxfleet_agent.ladder import plot as plots  # matplotlib takes a second to load

    measured = [table for table in tables if table.tiers]
    shown = measured[: plots.MAX_LADDERS]
    try:
        plots.draw(shown, file)
    except (OSError, ValueError) as error:
        raise give_up(error, 2) from error
    left_out = len(measured) - len(shown)
    note = f"; {left_out} older ones left out, choose with --model" if left_out else ""
    typer.echo(f"written to {file}{note}", err=True)


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)
