"""An account for lanes, and a Python that this account may run. Needs root."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

ACCOUNT = "nobody"
ENTRY = pwd.getpwnam(ACCOUNT)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process under another account")


def make_python(folder: Path) -> Path | None:
    """Creates an interpreter with this project's packages for the account; None when no base works.

    The interpreter in use may lie in a home directory that the account cannot enter.
    """
    python = folder / "bin" / "python"
    for base in (sys.executable, "/usr/bin/python3"):
        made = subprocess.run([base, "-m", "venv", "--clear", "--without-pip", folder], check=False)
        if made.returncode != 0:
            continue
        site = next((folder / "lib").glob("python3.*")) / "site-packages"
        (site / "project.pth").write_text("\n".join(path for path in sys.path if path and Path(path).is_dir()))
        check = "import sys, mlx.core, voxfleet_agent; print(sys.version_info[:2])"
        # Through env, which fails instead of this process when the account may not run the interpreter.
        checked = as_account("/usr/bin/env", python, "-c", check)
        if checked.returncode == 0 and checked.stdout.strip() == str(sys.version_info[:2]):
            return python
    return None


def as_account(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a command under the account, with no group but the account's own."""
    return subprocess.run(
        command,
        user=ACCOUNT,
        group=ENTRY.pw_gid,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
