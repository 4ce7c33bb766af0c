"""The agent's part of the soak: a whole job on one real agent, under kill -9."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tests.soak.results import Outcome
from tests.soak.schedule import PLACES, make_schedule
from tests.soak.session import Session

from voxfleet_dev.locations import REPOSITORY

NAME = "agent"
FULL_RUNS = 200
"""So many have to meet every place."""
CODE = ("agent/**/*.py", "crds/**/*.py", "hack/voxfleet_dev/*.py", "tests/rig/*.py", "tests/soak/*.py")
ALL_PLACES = tuple(str(place) for place in PLACES)
CLIPS = REPOSITORY / "examples" / "clips"


def run_seeds(
    seeds: Iterable[int], folder: Path, *, at_a_time: int, keep: bool, is_over: Callable[[], bool]
) -> Iterator[Outcome]:
    with ThreadPoolExecutor(at_a_time) as pool:
        pending = [pool.submit(run_seed, seed, folder, keep=keep) for seed in seeds]
        for done in as_completed(pending):
            if not done.cancelled():
                yield done.result()
            if is_over():
                for one in pending:
                    one.cancel()


def run_seed(seed: int, folder: Path, *, keep: bool) -> Outcome:
    """Leaves its folder behind when a promise was broken, or `keep` asks for it."""
    directory = folder / f"seed-{seed}"
    shutil.rmtree(directory, ignore_errors=True)
    schedule = make_schedule(seed, clip_ids())
    session = Session(schedule, CLIPS, directory)
    started = time.monotonic()
    findings = session.run()
    if findings.clean and not keep:
        shutil.rmtree(directory)
    not_met = (Counter(schedule.kills) - Counter(session.struck)).elements()
    return Outcome(
        seed=seed,
        seconds=time.monotonic() - started,
        struck=[str(kill) for kill in session.struck],
        not_met=[str(kill) for kill in not_met],
        places=[str(kill.place) for kill in session.struck],
        findings=findings,
    )


def clip_ids() -> list[str]:
    return [json.loads(line)["id"] for line in (CLIPS / "manifest.jsonl").read_text().splitlines()]


def shortcomings(summary: dict[str, object]) -> list[str]:
    """What a full set of runs has not done."""
    places = summary["killsByPlace"]
    assert isinstance(places, dict)
    return [f"nothing was killed at: {place}" for place, count in places.items() if not count]
