"""The fleet's part of the soak: jobs on one control plane and three Macs, one after the other."""

from __future__ import annotations

import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.soak.findings import Findings
from tests.soak.fleet.closing import close_books
from tests.soak.fleet.faults import KINDS, TAKEOVERS_ONE_IN, make_fleet_schedule
from tests.soak.fleet.rig import FleetRig
from tests.soak.fleet.session import FleetSession
from tests.soak.results import Outcome

NAME = "fleet"
FULL_RUNS = 60
"""So many have to meet every kind of fault."""
CODE = (
    *("agent/**/*.py", "operator/**/*.py", "crds/**/*.py", "hack/voxfleet_dev/*.py"),
    *("tests/sim/invariants.py", "tests/soak/findings.py", "tests/soak/fleet/*.py"),
)
ALL_PLACES = tuple(str(kind) for kind in KINDS)
RUNS_A_RIG = 20
"""Then everything is built anew, so that logs stay short."""


def run_seeds(
    seeds: Iterable[int], folder: Path, *, at_a_time: int, keep: bool, is_over: Callable[[], bool]
) -> Iterator[Outcome]:
    """One at a time, whatever `at_a_time` says: they share the Macs. A fleet that showed a fault is left to be read."""
    waiting = deque(seeds)
    while waiting and not is_over():
        directory = folder / f"fleet-{waiting[0]}"
        shutil.rmtree(directory, ignore_errors=True)
        sound, last, runs = True, False, 0
        with FleetRig(directory) as rig:
            while not last:
                outcome = run_seed(waiting.popleft(), rig)
                runs += 1
                sound = outcome.findings.clean
                last = not sound or not waiting or runs == RUNS_A_RIG or is_over()
                if sound and last:
                    outcome.findings.failures += close_books(rig)
                    sound = outcome.findings.clean
                yield outcome
        if sound and not keep:
            shutil.rmtree(directory)


def run_seed(seed: int, rig: FleetRig) -> Outcome:
    schedule = make_fleet_schedule(seed)
    session = FleetSession(rig, schedule)
    started = time.monotonic()
    findings: Findings = session.run()
    return Outcome(
        seed=seed,
        seconds=time.monotonic() - started,
        struck=[str(fault) for fault in session.struck],
        not_met=[str(fault) for fault in (Counter(schedule.faults) - Counter(session.struck)).elements()],
        places=[str(fault.kind) for fault in session.struck],
        findings=findings,
        takeovers=session.takeovers,
        notes=session.notes,
    )


def shortcomings(summary: dict[str, object]) -> list[str]:
    """What a full set of runs has not done."""
    kinds, runs, takeovers = summary["killsByPlace"], summary["runs"], summary["runsWithTakeover"]
    assert isinstance(kinds, dict) and isinstance(runs, int) and isinstance(takeovers, int)
    found = [f"never struck: {kind}" for kind, count in kinds.items() if not count]
    if takeovers * TAKEOVERS_ONE_IN < runs:
        found.append(f"only {takeovers} of {runs} runs took a shard over from a lost Mac")
    return found
