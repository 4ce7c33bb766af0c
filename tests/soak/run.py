"""`make soak`, after its tests: seeded runs of whole jobs under faults, each held against what was promised.

python tests/soak/run.py [--only agent|fleet] [--runs N] [--first-seed 1] [--at-a-time 2] [--minutes N] [--keep]
                         [--again]

agent: 200 jobs on one agent whose processes are killed at named places. fleet: 60 jobs on three Macs with a real
apiserver, sshd and operators, of which any is killed or frozen and any link is cut. Writes .soak/results.json after
each run and takes up where an earlier call with the same code was stopped. Ends with 1 when a promise was broken, or
when a full set of runs left a place or a kind of fault out.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.table import Table

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "hack")]

from tests.soak import agent_runs  # noqa: E402 - this is a program: it finds its own packages
from tests.soak.fleet import runs as fleet_runs  # noqa: E402
from tests.soak.results import Entry, Outcome, PartResults, code_digest  # noqa: E402

from voxfleet_dev.processes import exit_on_signals  # noqa: E402

FOLDER = REPOSITORY / ".soak"


class RunSeeds(Protocol):
    def __call__(
        self, seeds: Iterable[int], folder: Path, *, at_a_time: int, keep: bool, is_over: Callable[[], bool]
    ) -> Iterator[Outcome]: ...


@dataclass(frozen=True)
class Part:
    name: str
    full_runs: int
    code: tuple[str, ...]
    places: tuple[str, ...]
    run_seeds: RunSeeds
    shortcomings: Callable[[dict[str, Any]], list[str]]


PARTS = [
    Part(one.NAME, one.FULL_RUNS, one.CODE, one.ALL_PLACES, one.run_seeds, one.shortcomings)
    for one in (agent_runs, fleet_runs)
]


def run_part(part: Part, options: argparse.Namespace, console: Console) -> bool:
    """Returns whether every promise was kept."""
    runs = options.runs or part.full_runs
    seeds = range(options.first_seed, options.first_seed + runs)
    code = code_digest(REPOSITORY, part.code)
    results = PartResults(FOLDER / "results.json", part.name, code, part.places, again=options.again)
    before = {int(entry["seed"]) for entry in results.done(seeds)}
    if before:
        console.print(f"{part.name}: {len(before)} of {runs} seeds were run before with this code")
    left = [seed for seed in seeds if seed not in before]
    ends_at = time.monotonic() + (options.minutes or float("inf")) * 60
    outcomes = part.run_seeds(
        left,
        FOLDER,
        at_a_time=options.at_a_time,
        keep=options.keep,
        is_over=lambda: time.monotonic() > ends_at,
    )
    for number, outcome in enumerate(outcomes, 1):
        console.print(f"{part.name} {number} of {len(left)}: {told(results.add(outcome))}", markup=False)
    console.print(table(part, results.summary))
    done = results.done(seeds)
    clean = all(entry["clean"] for entry in done)
    missing = part.shortcomings(results.summary) if len(done) >= part.full_runs else []
    if len(done) < runs:
        missing.append(f"{runs - len(done)} runs are left; the next call goes on with them")
    for text in missing:
        console.print(f"{part.name}: {text}", markup=False)
    return clean and not missing


def told(entry: Entry) -> str:
    state = "clean" if entry["clean"] else f"BROKEN {entry}"
    return f"seed {entry['seed']}: {entry['seconds']:.0f} s, {'; '.join(entry['struck']) or 'nothing struck'}: {state}"


def table(part: Part, summary: Entry) -> Table:
    shown = Table("What", "Count", title=f"Soak: {part.name}")
    each = summary["each"]
    for name, value in summary.items():
        if name == "killsByPlace":
            for place, count in value.items():
                shown.add_row(f"  {place}", str(count))
        elif name == "failures":
            shown.add_row("failures", "\n".join(value) or "none")
        elif name not in ("seeds", "each"):
            shown.add_row(name, str(value))
    if each:
        seconds = sorted(entry["seconds"] for entry in each)
        shown.add_row("seconds a run (median, longest)", f"{seconds[len(seconds) // 2]:.0f}, {seconds[-1]:.0f}")
        shown.add_row("seeds", ", ".join(str(seed) for seed in summary["seeds"]))
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[part.name for part in PARTS])
    parser.add_argument("--runs", type=int, help="of each part; without it: all")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--at-a-time", type=int, default=2, help="runs of the agent's part")
    parser.add_argument("--minutes", type=float, help="start no run after that time, of each part")
    parser.add_argument("--keep", action="store_true", help="keep the folder of every run, not only of broken ones")
    parser.add_argument("--again", action="store_true", help="forget what an earlier call has run")
    options = parser.parse_args()
    exit_on_signals()
    console = Console(stderr=True)
    parts = [part for part in PARTS if options.only in (None, part.name)]
    kept = [run_part(part, options, console) for part in parts]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
