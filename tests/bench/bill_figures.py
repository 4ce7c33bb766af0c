"""How long a large fleet's month takes to be exported, and in how much memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.failure import MeasurementFailed
from tests.bench.report import Figure, Goal
from tests.rig.generated_month import Size, write_month

MONTH = Size(macs=500, nights=30, attempts_a_night=20)
REPOSITORY = Path(__file__).resolve().parents[2]
PRICES = REPOSITORY / "examples/price-book.yaml"
MAX_SECONDS, MAX_MEBIBYTES = 60, 300
READY = ".ready"


def bill_figures(folder: Path, say: Callable[[str], None], size: Size = MONTH) -> list[Figure]:
    """`folder` keeps the archive, which takes minutes to sign."""
    archive = folder / f"archive-{size.macs}-{size.nights}-{size.attempts_a_night}"
    if not (archive / READY).exists():
        say(f"signing {size.rows} rows of {size.macs} Macs (kept in {archive})")
        write_month(archive, size, say)
        (archive / READY).touch()
    out = folder / "bill.csv"
    say(f"exporting {size.rows} rows")
    seconds, processor_seconds, mebibytes = _exported(archive, size.month, out)
    lines = sum(1 for _ in out.open("rb")) - 1
    if lines < size.rows:
        raise MeasurementFailed(f"{out} has {lines} lines for {size.rows} rows")
    out.unlink()
    what = f"FOCUS export of {size.rows:,} rows, {size.macs} Macs"
    return [
        Figure(f"{what}: time", seconds, "s", Goal("<=", MAX_SECONDS)),
        Figure(f"{what}: processor time", processor_seconds, "s"),
        Figure(f"{what}: rate", size.rows / seconds, "rows/s"),
        Figure(f"{what}: peak memory", mebibytes, "MiB", Goal("<=", MAX_MEBIBYTES)),
    ]


def _exported(archive: Path, month: str, out: Path) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and peak resident MiB of the command."""
    command = [sys.executable, "-m", "voxfleet_cli.main", "bill", "export", "--period", month, "--format", "focus-1.2"]
    command += ["--out", str(out), "--archive", archive.as_uri(), "--price-book", str(PRICES)]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    stderr = process.stderr.read() if process.stderr is not None else b""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise MeasurementFailed(f"voxfleet bill export ended with {process.returncode}: {stderr.decode()[-500:]}")
    per_mebibyte = 2**20 if sys.platform == "darwin" else 2**10
    return time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / per_mebibyte
