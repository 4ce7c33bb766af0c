"""Runs the sides' processes, some at a time, and says how far they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from voxfleet_accuracy.heard import Heard, Results
from voxfleet_accuracy.sides import SideRun
from voxfleet_accuracy.takes import GivenPath, Take
from voxfleet_dev.local_run import RunFailedError
from voxfleet_dev.processes import stop_all

_POLL_SECONDS = 0.2
_TOLD_EVERY_SECONDS = 30.0
_WINDOW_SECONDS = 30.0
_LIMIT_SECONDS_AN_AUDIO_SECOND = 20.0
_LIMIT_SECONDS_BESIDE = 60.0


def time_limit_seconds(run: SideRun) -> float:
    """More than any machine needs that is worth measuring on."""
    return _LIMIT_SECONDS_BESIDE + _LIMIT_SECONDS_AN_AUDIO_SECOND * run.seconds


def run_all(
    runs: Sequence[SideRun],
    at_once: int,
    say: Callable[[str], None],
    limit_seconds: Callable[[SideRun], float] = time_limit_seconds,
) -> tuple[Results, list[str]]:
    """The longest first. Returns what was heard, and of each run that failed or took too long why.

    Nothing is left running.
    """
    waiting = sorted(runs, key=_cost, reverse=True)
    running: list[tuple[SideRun, float]] = []
    results: dict[tuple[GivenPath | None, str], Heard] = {}
    failures: list[str] = []
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
            for run, since in list(running):
                late = now - since > limit_seconds(run)
                if run.process.running and not late:
                    continue
                run.process.stop()
                running.remove((run, since))
                done += 1
                told = now
                try:
                    if late:
                        raise RunFailedError(
                            f"stopped after its {limit_seconds(run):.0f} s; its log: {run.process.log}"
                        )
                    results |= {(run.path, name): heard for name, heard in run.heard().items()}
                except (RunFailedError, ValueError) as error:  # ValueError: a line that its writer did not end
                    failures.append(f"{_what(run)}: {error}")
                    say(f"{done}/{len(runs)} FAILED {failures[-1]}")
                else:
                    say(f"{done}/{len(runs)} {_what(run)} took {now - since:.0f} s")
            if now - told >= _TOLD_EVERY_SECONDS and running:
                what = "; ".join(f"{_what(run)} for {now - since:.0f} s" for run, since in running)
                say(f"after {now - started:.0f} s, {done} of {len(runs)} done; at work: {what}")
                told = now
    finally:
        stop_all([run.process for run, _ in running])
    return results, failures


def comparable(takes: Sequence[Take], results: Results) -> list[Take]:
    """The takes that both sides have heard, with the paths along which the product has. Pure."""
    found = []
    for take in takes:
        paths = tuple(path for path in take.paths if (path, take.name) in results)
        if paths and (None, take.name) in results:
            found.append(replace(take, paths=paths))
    return found


def _what(run: SideRun) -> str:
    count = len(run.takes)
    names = run.takes[0].name if count == 1 else f"{count} files"
    return f"{run.title}, {names} ({run.seconds:.0f} s of audio)"


def _cost(run: SideRun) -> float:
    """Windows of 30 s, which is what Whisper's work grows with."""
    return sum(-(-take.seconds // _WINDOW_SECONDS) for take in run.takes)
