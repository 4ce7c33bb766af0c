"""The environment of the FOCUS validator, which needs a newer Python than the rest: made once a lock, in the cache.

`python -m voxfleet_dev.focus_environment` makes it. It needs Python 3.12 or newer on this machine and downloads none.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from voxfleet_dev.locations import REPOSITORY, cache_directory

LOCK = REPOSITORY / "requirements-focus.lock"
NEEDED = ">=3.12"
PREFERRED = "3.12"
"""The validator wants NumPy 1.26, which has no wheel for later Pythons and is compiled there."""
READY = ".ready"


class NoFocusEnvironment(Exception):
    """The message says what is missing, and what to do."""


def validator() -> Path:
    """The validator's program. Raises NoFocusEnvironment."""
    program = _folder() / "bin" / "focus-validator"
    if not (_folder() / READY).exists() or not program.exists():
        raise NoFocusEnvironment(
            f"the FOCUS validator is not installed in {_folder()}: run make setup; it needs Python {NEEDED}, which"
            " `uv python find` has to find on this machine"
        )
    return program


def make() -> None:
    """Raises NoFocusEnvironment."""
    folder = _folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / READY).exists():
            return
        shutil.rmtree(folder, ignore_errors=True)
        python = _newer_python()
        print(f"setup: installing the FOCUS validator in {folder}", flush=True)
        _uv("venv", "--quiet", "--python", python, str(folder))
        _uv("pip", "install", "--quiet", "--python", str(folder / "bin/python"), "--require-hashes", "-r", str(LOCK))
        (folder / READY).touch()


def _newer_python() -> str:
    with suppress(NoFocusEnvironment):
        return _uv("python", "find", "--no-project", PREFERRED).strip()
    try:
        return _uv("python", "find", "--no-project", NEEDED).strip()
    except NoFocusEnvironment as error:
        raise NoFocusEnvironment(
            f"the FOCUS validator needs Python {NEEDED}, and there is none: {error}. Install one, such as"
            " python3.12, and run make setup again"
        ) from error


def _uv(*arguments: str) -> str:
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "PATH": _path()}
    command = [sys.executable, "-m", "uv", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise NoFocusEnvironment(f"uv {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def _path() -> str:
    """PATH with all Pythons of pyenv instead of its shims, which fail for each version that is not switched on."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    shown = [part for part in os.environ.get("PATH", "").split(os.pathsep) if Path(part) != root / "shims"]
    return os.pathsep.join([*shown, *(str(folder) for folder in sorted(root.glob("versions/*/bin"), reverse=True))])


def _folder() -> Path:
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    return cache_directory() / f"focus-validator-{digest}"


if __name__ == "__main__":
    try:
        make()
    except NoFocusEnvironment as problem:
        sys.exit(f"setup: error: {problem}")
