"""`make speech`: word error rates of the product beside mlx-audio's own, on real speech with known words.

Several processes work at the same time, so leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
import time
from collections.abc import Collection, Sequence
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from voxfleet_accuracy.borders import window_borders
from voxfleet_accuracy.measurement import measure
from voxfleet_accuracy.normaliser import whisper_normaliser
from voxfleet_accuracy.report import show, write
from voxfleet_accuracy.schedule import comparable, run_all
from voxfleet_accuracy.sides import SideRun, product_run, upstream_run
from voxfleet_accuracy.suite import write_takes
from voxfleet_accuracy.takes import GivenPath, Take
from voxfleet_agent import blas
from voxfleet_agent.engine.languages import known_languages
from voxfleet_agent.models.model_files import read_config
from voxfleet_dev.local_run import RunFailedError
from voxfleet_dev.locations import REPOSITORY
from voxfleet_dev.mac import agent_environment
from voxfleet_dev.processes import ChildFailed, exit_on_signals
from voxfleet_models.whisper_tiny.model import AnotherModel, whisper_tiny
from voxfleet_packages.fetch import PackageUnavailable

_FOLDER = REPOSITORY / ".bench" / "speech"
_RESULT = REPOSITORY / ".bench" / "speech.json"
_AT_ONCE = 2
_LONG_SECONDS = 100.0
"""A take from this length on is a run of its own."""
_TABLE_WIDTH = 240
_PACKAGES = ("mlx", "mlx-audio", "mlx-audio-io", "jiwer", "transformers")

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _TABLE_WIDTH)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="make speech",
        description=__doc__,
        epilog="Exit status: 0 when all was measured, whether goals hold or not; 1 when something was not.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="a small part: 14 files")
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="another model than Whisper tiny.en")
    parser.add_argument("--at-once", type=int, default=_AT_ONCE, metavar="N", help=f"processes (default: {_AT_ONCE})")
    options = parser.parse_args(arguments)
    if options.at_once < 1:
        parser.error("--at-once must be at least 1")
    exit_on_signals()
    try:
        failures = _measure(options.model or whisper_tiny(), quick=options.quick, at_once=options.at_once)
    except KeyboardInterrupt:
        console.print("Interrupted: everything that was started has been stopped.")
        return 130
    except (AnotherModel, PackageUnavailable, RunFailedError, ChildFailed) as error:
        console.print(f"not measured: {error}", markup=False)
        return 1
    for failure in failures:
        console.print(f"not measured: {failure}", markup=False)
    return 1 if failures else 0


def _measure(model: Path, *, quick: bool, at_once: int) -> list[str]:
    """Returns of each run that failed why; the others are measured, unless nothing is left to compare."""
    started = time.monotonic()
    shutil.rmtree(_FOLDER, ignore_errors=True)
    normalise = whisper_normaliser()
    takes = write_takes(_FOLDER / "clips", quick=quick)
    runs = _runs(takes, model.resolve(), _FOLDER / "runs")
    console.print(
        f"{len(takes)} files, {sum(take.seconds for take in takes):.0f} s of audio, {len(runs)} runs, {at_once} at once"
    )
    results, failures = run_all(runs, at_once, lambda line: console.print(line, markup=False))
    takes = comparable(takes, results)
    if not takes:
        return failures
    measured = measure(takes, results, window_borders(takes, results), normalise, languages_of(model))
    seconds = time.monotonic() - started
    facts = {"quick": quick, "failedRuns": failures, "seconds": round(seconds), **_versions()}
    show(console, model.name, measured)
    write(_RESULT, model.name, measured, takes, results, facts)
    console.print(", ".join(f"{name} {fact}" for name, fact in _versions().items()))
    console.print(f"took {seconds:.0f} s; written to {_RESULT}")
    return failures


def _runs(takes: Sequence[Take], model: Path, folder: Path) -> list[SideRun]:
    """One a long take and path, and one a path for the others together."""
    batches = [[take] for take in takes if take.seconds >= _LONG_SECONDS]
    batches.append([take for take in takes if take.seconds < _LONG_SECONDS])
    runs = []
    for number, batch in enumerate(batches):
        for path in GivenPath:
            members = [take for take in batch if path in take.paths]
            if members:
                runs.append(product_run(f"{_name(path)}-{number}", members, path, model, folder))
        runs.append(upstream_run(f"upstream-{number}", batch, model, folder))
    return runs


def _name(path: GivenPath) -> str:
    return path.replace(" ", "")


def languages_of(model: Path) -> Collection[str] | None:
    """Those that the model knows; None: its config.json does not tell."""
    config = read_config(model)
    return known_languages(str(config.get("model_type")), config)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()} | {package: version(package) for package in _PACKAGES}
    preloaded = [Path(word) for word in agent_environment().get("LD_PRELOAD", "").split() if "openblas" in word]
    return found | {"blas": preloaded[0].resolve().name if preloaded else blas.in_use()}


if __name__ == "__main__":
    sys.exit(main())
