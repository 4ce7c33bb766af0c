"""`make soak`: seeded runs of a whole job under kill -9, each held against what was promised.

python tests/soak/run.py [--runs 200] [--first-seed 1] [--at-a-time 2] [--keep]

Writes .soak/results.json and ends with 1 when a promise was broken, or when 200 runs left a place without a kill.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "hack")]

from tests.soak.findings import Findings  # noqa: E402 - this is a program: it finds its own packages
from tests.soak.schedule import PLACES, Kill, make_schedule, spared_places  # noqa: E402
from tests.soak.session import Session  # noqa: E402

from voxfleet_dev.processes import exit_on_signals  # noqa: E402

CLIPS = REPOSITORY / "examples" / "clips"
FOLDER = REPOSITORY / ".soak"
FULL_RUNS = 200
"""So many have to meet every place."""


@dataclass(frozen=True)
class Outcome:
    seed: int
    seconds: float
    struck: tuple[Kill, ...]
    not_met: tuple[Kill, ...]
    """The run passed them by: what they wait for did not come, or an earlier kill took it away."""
    findings: Findings

    def entry(self) -> dict[str, object]:
        found = self.findings
        return {
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "struck": [str(kill) for kill in self.struck],
            "notMet": [str(kill) for kill in self.not_met],
            "lost": found.lost,
            "duplicated": found.duplicated,
            "repeated": found.repeated,
            "doubleBilledSeconds": found.double_billed_seconds,
            "residueBytes": found.residue_bytes,
            "failures": found.failures,
        }


def clip_ids() -> list[str]:
    return [json.loads(line)["id"] for line in (CLIPS / "manifest.jsonl").read_text().splitlines()]


def run_seed(seed: int, *, keep: bool) -> Outcome:
    """Leaves its folder behind when a promise was broken, or `keep` asks for it."""
    directory = FOLDER / f"seed-{seed}"
    shutil.rmtree(directory, ignore_errors=True)
    schedule = make_schedule(seed, clip_ids())
    session = Session(schedule, CLIPS, directory)
    started = time.monotonic()
    findings = session.run()
    if findings.clean and not keep:
        shutil.rmtree(directory)
    not_met = tuple((Counter(schedule.kills) - Counter(session.struck)).elements())
    return Outcome(seed, time.monotonic() - started, tuple(session.struck), not_met, findings)


def summary(outcomes: list[Outcome]) -> dict[str, object]:
    found = [outcome.findings for outcome in outcomes]
    struck = Counter(kill.place for outcome in outcomes for kill in outcome.struck)
    return {
        "runs": len(outcomes),
        "seeds": [outcome.seed for outcome in outcomes],
        "kills": struck.total(),
        "killsNotMet": sum(len(outcome.not_met) for outcome in outcomes),
        "killsByPlace": {str(place): struck[place] for place in PLACES},
        "lost": sum(one.lost for one in found),
        "duplicated": sum(one.duplicated for one in found),
        "repeated": sum(one.repeated for one in found),
        "doubleBilledSeconds": round(sum(one.double_billed_seconds for one in found), 3),
        "residueBytes": sum(one.residue_bytes for one in found),
        "failures": [f"seed {outcome.seed}: {text}" for outcome in outcomes for text in outcome.findings.failures],
        "each": [outcome.entry() for outcome in outcomes],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=FULL_RUNS)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--at-a-time", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="keep the folder of every run, not only of broken ones")
    options = parser.parse_args()
    exit_on_signals()
    console = Console(stderr=True)
    outcomes: list[Outcome] = []
    columns = (TextColumn("soak"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
        ThreadPoolExecutor(options.at_a_time) as pool,
    ):
        task = progress.add_task("soak", total=options.runs)
        seeds = range(options.first_seed, options.first_seed + options.runs)
        pending = [pool.submit(run_seed, seed, keep=options.keep) for seed in seeds]
        for done in as_completed(pending):
            outcome = done.result()
            outcomes.append(outcome)
            progress.advance(task)
            if not outcome.findings.clean or not console.is_terminal:
                state = "clean" if outcome.findings.clean else f"BROKEN {outcome.entry()}"
                console.print(
                    f"seed {outcome.seed}: {outcome.seconds:.0f} s, {'; '.join(map(str, outcome.struck))}: {state}"
                )
    outcomes.sort(key=lambda outcome: outcome.seed)
    result = summary(outcomes)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "results.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    console.print({name: value for name, value in result.items() if name not in ("seeds", "each")})
    spared = spared_places(kill for outcome in outcomes for kill in outcome.struck)
    if options.runs >= FULL_RUNS and spared:
        console.print(f"nothing was killed at: {'; '.join(map(str, spared))}")
        return 1
    return 0 if all(outcome.findings.clean for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
