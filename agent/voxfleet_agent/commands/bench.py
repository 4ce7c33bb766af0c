"""`voxfleet-agent bench`: measurements that need nothing but this machine."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from voxfleet_agent.commands.config_option import give_up
from voxfleet_agent.commands.output import TableFormat, TableOption, console

if TYPE_CHECKING:
    from voxfleet_agent.audio.io_benchmark import BenchmarkRow, BenchmarkTiming

INSTALL = "'librosa>=0.11,<0.12' 'soundfile>=0.13,<1'"
TABLE_WIDTH = 130

bench_app = typer.Typer(help="Measure this machine.", no_args_is_help=True, rich_markup_mode=None)


@bench_app.callback()
def bench() -> None:
    """Measure this machine."""


@bench_app.command("io", epilog="Example: voxfleet-agent bench io -o json > io.json")
def io(
    output: TableOption = TableFormat.TABLE,
    seconds: Annotated[
        float, typer.Option("--seconds", min=4, max=3600, help="Length of the input; the headline's is 194.8.")
    ] = 194.8,
    runs: Annotated[int, typer.Option("--runs", min=1, max=1000, help="Measured runs of each call.")] = 20,
) -> None:
    """Reruns mlx-audio-io's headline rows on this machine, beside librosa and soundfile: p50 and p90 in milliseconds.

    The input is stereo, 44.1 kHz, 16 bit, made for the purpose in the temporary folder (about 1 MB a second).
    """
    from voxfleet_agent.audio import io_benchmark  # MLX takes seconds to load

    missing = io_benchmark.missing_peers()
    if missing:
        raise give_up(f"{' and '.join(missing)} cannot be imported; run: python -m pip install {INSTALL}", 2)
    with tempfile.TemporaryDirectory(prefix="voxfleet-bench-") as folder:
        rows: list[BenchmarkRow] = []
        for row in io_benchmark.run_benchmark(Path(folder), seconds, runs):
            rows.append(row)
            typer.echo(f"measured: {row.task}", err=True)
    versions = {
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        **io_benchmark.versions(),
    }
    facts = f"{seconds:g} s, stereo, 44.1 kHz, PCM16; {runs} runs, median and p90"
    if output is TableFormat.JSON:
        typer.echo(
            json.dumps({"input": facts, "versions": versions, "rows": [_row_json(row) for row in rows]}, indent=2)
        )
        return
    _show(rows, facts, versions)


def _row_json(row: BenchmarkRow) -> dict[str, object]:
    timings = {
        name: None
        if timing is None
        else {
            "p50Milliseconds": round(timing.p50_milliseconds, 4),
            "p90Milliseconds": round(timing.p90_milliseconds, 4),
        }
        for name, timing in row.timings.items()
    }
    peers = list(row.timings)[1:]
    factors = {peer: factor for peer in peers if (factor := row.times_faster(peer)) is not None}
    return {
        "task": row.task,
        "timings": timings,
        "timesFaster": {peer: round(factor, 3) for peer, factor in factors.items()},
        "failures": dict(row.failures),
    }


def _show(rows: Sequence[BenchmarkRow], facts: str, versions: dict[str, str]) -> None:
    out = console(TABLE_WIDTH)
    libraries = tuple(rows[0].timings)
    grid = Table(title=f"Milliseconds, p50 / p90: {facts}")
    grid.add_column("Task", no_wrap=True)
    for name in libraries:
        grid.add_column(name, justify="right", no_wrap=True)
    for name in libraries[1:]:
        grid.add_column(f"vs {name}", justify="right", no_wrap=True)
    for row in rows:
        grid.add_row(
            row.task,
            *(_cell(timing) for timing in row.timings.values()),
            *("-" if (factor := row.times_faster(name)) is None else f"{factor:.1f} x" for name in libraries[1:]),
        )
    out.print(grid)
    out.print(", ".join(f"{name} {text}" for name, text in versions.items()))
    for row in rows:
        for name, reason in row.failures.items():
            out.print(f"{row.task}: {name} failed: {reason}")
    out.print(
        "-: the library has no such call, or fails on this machine. What `default` resampling means differs by"
        " platform; soxr_hq compares like with like.",
    )


def _cell(timing: BenchmarkTiming | None) -> str:
    return "-" if timing is None else f"{timing.p50_milliseconds:.2f} / {timing.p90_milliseconds:.2f}"
