"""What corrupt clips and a breaking network cost a job, beside the same job without them."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable
from pathlib import Path

from tests.bench.failure import MeasurementFailed
from tests.bench.report import Figure, Goal
from tests.component.faults.fault_run import FaultRun, run_faults

CLIPS = 2000
CORRUPT_PERCENT, FAULT_PERCENT = 1, 5
ROUNDS = 3

Say = Callable[[str], None]


def fault_figures(directory: Path, say: Say, clips: int = CLIPS, rounds: int = ROUNDS) -> list[Figure]:
    """Both jobs, each first in turn. Raises MeasurementFailed when a clip pays for another one's trouble."""
    plain: list[float] = []
    broken: list[float] = []
    siblings = 0
    for number in range(rounds):
        for troubled in (True, False) if number % 2 else (False, True):
            name = f"{'broken' if troubled else 'plain'}-{number}"
            run = _run(directory / name, clips, troubled=troubled)
            (broken if troubled else plain).append(run.process_seconds)
            siblings += _siblings_retried(run)
            say(f"{clips} clips, {name}: {run.process_seconds:.1f} s, faults met: {sum(run.met.values())}")
    ratios = tuple(with_faults / without for with_faults, without in zip(broken, plain, strict=True))
    what = f"{clips} clips with {CORRUPT_PERCENT} % corrupt and {FAULT_PERCENT} % transport faults"
    return [
        Figure(
            "faults_overhead", statistics.median(ratios), f"{what}, over the same without", Goal("<=", 1.05), ratios
        ),
        Figure(
            "faults_siblings_retried", float(siblings), f"clips that paid for another's trouble, {what}", Goal("<=", 0)
        ),
    ]


def _run(directory: Path, clips: int, *, troubled: bool) -> FaultRun:
    percents = (CORRUPT_PERCENT, FAULT_PERCENT) if troubled else (0, 0)
    directory.mkdir(parents=True)
    try:
        run = asyncio.run(run_faults(directory, clips, corrupt_percent=percents[0], fault_percent=percents[1]))
        run.check(clips)
    except AssertionError as error:
        raise MeasurementFailed(f"the run with faults went wrong: {error}") from error
    return run


def _siblings_retried(run: FaultRun) -> int:
    return sum(bool(row.retries) and name not in run.faults for name, row in run.rows.items())
