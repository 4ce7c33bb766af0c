"""Runs the sides' processes, some at a time, and says how far they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from voxfleet_accuracy.heard import Heard, Results
from voxfleet_accuracy.sides import SideRun
from voxfleet_accuracy.takes import GivenPath
from voxfleet_dev.processes import stop_all

_POLL_SECONDS = 0.2
_TOLD_EVERY_SECONDS = 30.0
_WINDOW_SECONDS = 30.0


def run_all(runs: Sequence[SideRun], at_once: int, say: Callable[[str], None]) -> Results:
    """The longest first. Raises RunFailedError (dev's local_run); nothing is left running."""
    waiting = sorted(runs, key=_cost, reverse=True)
    running: list[tuple[SideRun, float]] = []
    results: dict[tuple[GivenPath | None, str], Heard] = {}
    started = told = time.monotonic()
    done = 0
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                run = waiting.pop(0)
                run.process.start()
                running.append((run, time.monotonic()))
            time.sleep(_POLL_SECONDS)
            now = time.monotonic()
            for run, since in [entry for entry in running if not entry[0].process.running]:
                running.remove((run, since))
                run.process.stop()
                results |= {(run.path, name): heard for name, heard in run.heard().items()}
                done += 1
                say(f"{done}/{len(runs)} {_what(run)} took {now - since:.0f} s")
                told = now
            if now - told >= _TOLD_EVERY_SECONDS and running:
                what = "; ".join(f"{_what(run)} for {now - since:.0f} s" for run, since in running)
                say(f"after {now - started:.0f} s, {done} of {len(runs)} done; at work: {what}")
                told = now
    finally:
        stop_all([run.process for run, _ in running])
    return results


def _what(run: SideRun) -> str:
    count = len(run.takes)
    names = run.takes[0].name if count == 1 else f"{count} files"
    return f"{run.title}, {names} ({run.seconds:.0f} s of audio)"


def _cost(run: SideRun) -> float:
    """Windows of 30 s, which is what Whisper's work grows with."""
    return sum(-(-take.seconds // _WINDOW_SECONDS) for take in run.takes)
