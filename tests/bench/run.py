"""Measures VoxFleet and its peers on this machine; writes .bench/results.json.

Everything is measured one thing after the other, so leave the machine alone meanwhile. Clips are made once.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # a script's own folder comes first otherwise, and `tests` is not found

from rich.console import Console  # noqa: E402
from tests.bench.baselines import command_line_throughput, path_loop_throughput  # noqa: E402
from tests.bench.clips import KINDS, Pool, make_pool  # noqa: E402
from tests.bench.failure import MeasurementFailed  # noqa: E402
from tests.bench.fleet_figures import agent_throughput, two_mac_figures  # noqa: E402
from tests.bench.report import Figure, Goal, show, write  # noqa: E402
from tests.bench.versions import versions  # noqa: E402

from make_clips import ClipToolError  # noqa: E402
from voxfleet_agent.engine.models import default_model_folder  # noqa: E402
from voxfleet_dev.controlplane import KubectlFailed  # noqa: E402
from voxfleet_dev.go_build import BuildFailed  # noqa: E402
from voxfleet_dev.processes import ChildFailed, exit_on_signals  # noqa: E402

BENCH = ROOT / ".bench"
RESULTS = BENCH / "results.json"
THROUGHPUT_CLIPS = 400
COMMAND_LINE_CLIPS = len(KINDS)
ROUNDS = 3
TABLE_WIDTH = 120
SPEED = "audio seconds a second"

console = Console(highlight=False, width=max(Console().width, TABLE_WIDTH), soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="make bench",
        description=__doc__,
        epilog="Exit status: 0 when all was measured, whether goals hold or not; 1 when something was not.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--clips", type=int, default=1000, metavar="N", help="clips of the large job (default: 1000, the goal's size)"
    )
    options = parser.parse_args(arguments)
    if options.clips < 1:
        parser.error("--clips must be at least 1")
    exit_on_signals()
    try:
        return measure(options.clips)
    except KeyboardInterrupt:
        console.print("Interrupted: everything that the benchmark started has been stopped.")
        return 130
    except (BuildFailed, ClipToolError) as error:
        console.print(str(error), style="red", markup=False)
        return 1


def measure(clips: int) -> int:
    shutil.rmtree(BENCH / "run", ignore_errors=True)
    RESULTS.unlink(missing_ok=True)
    found = versions()
    _say(f"{THROUGHPUT_CLIPS} clips in {BENCH / 'clips'} (made when missing)")
    pool = make_pool(BENCH / "clips", THROUGHPUT_CLIPS)
    figures: list[Figure] = []
    parts: tuple[Callable[[], list[Figure]], ...] = (
        lambda: two_mac_figures(BENCH / "run" / "pair", pool, clips, _say),
        lambda: throughput_figures(pool),
    )
    complete = True
    for part in parts:
        try:
            figures += part()
        except (MeasurementFailed, ChildFailed, KubectlFailed, OSError) as error:  # OSError: a server went away
            complete = False
            console.print(f"not measured: {error}", style="red", markup=False)
    write(RESULTS, figures, found)
    show(console, figures, found)
    _say(f"written to {RESULTS}")
    return 0 if complete else 1


def throughput_figures(pool: Pool) -> list[Figure]:
    """One Mac against its peers. Raises MeasurementFailed, ChildFailed, KubectlFailed."""
    model = default_model_folder()
    _say(f"mlx_audio.stt.generate, {COMMAND_LINE_CLIPS} clips, a process each")
    command_line = command_line_throughput(model, pool.first(COMMAND_LINE_CLIPS))
    _say(f"{command_line:.2f} {SPEED}")
    agent: list[float] = []
    loop: list[float] = []

    def measure_agent(number: int) -> None:
        agent.append(agent_throughput(BENCH / "run" / f"single-{number}", pool))
        _say(f"round {number}: one Mac {agent[-1]:.1f} {SPEED}")

    def measure_loop(number: int) -> None:
        loop.append(path_loop_throughput(model, pool))
        _say(f"round {number}: loop of model.generate(path) {loop[-1]:.1f} {SPEED}")

    for number in range(1, ROUNDS + 1):
        # Each goes first in turn: a machine that warms up, or whose neighbours wake, favours neither.
        for step in (measure_agent, measure_loop) if number % 2 else (measure_loop, measure_agent):
            step(number)
    agent_median, loop_median = statistics.median(agent), statistics.median(loop)
    ratio = "ratio of medians"
    return [
        Figure("agent_throughput_audio_seconds_per_second", agent_median, f"{SPEED}, one Mac", samples=tuple(agent)),
        Figure(
            "path_loop_throughput_audio_seconds_per_second",
            loop_median,
            f"{SPEED}, model.generate(path) in one process",
            samples=tuple(loop),
        ),
        Figure(
            "cli_throughput_audio_seconds_per_second",
            command_line,
            f"{SPEED}, mlx_audio.stt.generate once a clip, sample of {COMMAND_LINE_CLIPS} clips",
        ),
        Figure("agent_vs_cli", agent_median / command_line, ratio, Goal(">=", 20)),
        Figure("agent_vs_path_loop", agent_median / loop_median, ratio, Goal(">=", 1)),
    ]


def _say(text: str) -> None:
    console.print(f"bench: {text}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
