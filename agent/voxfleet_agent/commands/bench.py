"""`voxfleet-agent bench`: measurements that need nothing but this machine."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from voxfleet_agent import blas
from voxfleet_agent.commands.config_option import give_up
from voxfleet_agent.commands.output import TableFormat, TableOption, console

if TYPE_CHECKING:
    from voxfleet_agent.audio.io_benchmark import BenchmarkRow, BenchmarkTiming

INSTALL = "'librosa>=0.11,<0.12' 'soundfile>=0.13,<1'"
TABLE_WIDTH = 130
MAC_EXAMPLES = """Examples:

\b
  voxfleet-agent bench mac examples/clips
  voxfleet-agent bench mac ~/recordings --model commands --model /Models/whisper-tiny.en -r mac.html
"""

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


@bench_app.command("mac", epilog=MAC_EXAMPLES)
def mac(
    clips: Annotated[Path, typer.Argument(help="A folder of recordings with speech.", show_default=False)],
    report: Annotated[Path, typer.Option("--report", "-r", help="The HTML file to write.", metavar="FILE")] = Path(
        "bench-mac.html"
    ),
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="Give it twice: commands, a folder, an address, or owner/name@revision of the hub.",
            show_default="commands",
            metavar="MODEL",
        ),
    ] = None,
    count: Annotated[int, typer.Option("--clips", min=1, max=1000, help="The most clips to take.")] = 32,
    largest_batch: Annotated[int, typer.Option("--largest-batch", min=1, max=8, help="Where the ladder ends.")] = 8,
    minutes: Annotated[
        float, typer.Option("--minutes", min=0.5, max=600, help="The time for all; what does not end in it is told.")
    ] = 14.0,
) -> None:
    """Measures what only this Mac can tell, and writes one HTML file to send back.

    It holds the doctor's findings; and for each model its ladder, a run of the clips by the agent, and the same clips
    by mlx-audio's own loop; no transcript, and no clip's name. Ends with 0 when all was measured, with 1 when something
    is missing from the file, which it tells, with 2 when an argument is wrong.
    """
    from voxfleet_agent.commands.doctor import examine
    from voxfleet_agent.finished_runs.repro_check import ModelNotNamed, model_source
    from voxfleet_agent.mac_benchmark.benchmark_job import chosen_clips
    from voxfleet_agent.mac_benchmark.html_report import html_report
    from voxfleet_agent.mac_benchmark.measurement import STEPS, TimeBudget, measure_model
    from voxfleet_agent.machine import read_machine
    from voxfleet_agent.standalone.run_paths import cache_home

    def say(text: str) -> None:
        typer.echo(text, err=True)

    try:
        named = {name: model_source(name, None) for name in model or ["commands"]}
        chosen = chosen_clips(list(clips.absolute().iterdir()), count)
        if not chosen:
            raise give_up(f"{clips} holds no recording; give a folder of wav, flac, m4a, mp3, aiff or caf files", 2)
        budget = TimeBudget(minutes * 60, STEPS * len(named))
        with tempfile.TemporaryDirectory(prefix="voxfleet-bench-") as folder:
            say("doctor")
            machine = read_machine(Path(folder))
            findings = [(found.health.value, found.name, found.found, found.mend) for found in examine(None)]
            measured = []
            for number, (name, source) in enumerate(named.items()):
                own = Path(folder) / f"model-{number}"
                own.mkdir()
                cache = cache_home(os.environ, Path.home())
                measured.append(measure_model(name, source, chosen, largest_batch, own, cache, budget, say))
        facts = {"chip": machine.chip, "os": machine.os, "memory": f"{machine.memory_bytes >> 20} MiB"}
        facts |= {"python": platform.python_version(), "blas": blas.in_use(), **machine.versions}
        report.write_text(html_report(facts, findings, measured, str(Path.home())))
    except (ModelNotNamed, OSError) as error:
        raise give_up(error, 2) from error
    say(f"written to {report}")
    missing = [f"{found.name}: {note}" for found in measured for note in found.notes]
    for note in missing:
        say(note)
    if missing:
        raise typer.Exit(1)


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
