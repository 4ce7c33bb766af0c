"""An account that lanes may run under, and a Python that it may run. Needs root."""

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
    """An interpreter with this project's packages that the account may run; the one in use may lie in a home."""
    python = folder / "bin" / "python"
    for base in (sys.executable, "/usr/bin/python3"):
        made = subprocess.run([base, "-m", "venv", "--clear", "--without-pip", folder], check=False)
        if made.returncode != 0:
            continue
        site = next((folder / "lib").glob("python3.*")) / "site-packages"
        (site / "project.pth").write_text("\n".join(path for path in sys.path if path and Path(path).is_dir()))
        check = "import sys, mlx.core, voxfleet_agent; print(sys.version_info[:2])"
        found = as_account("/usr/bin/env", python, "-c", check)  # env: it fails, not this process, where it may not
        if found.returncode == 0 and found.stdout.strip() == str(sys.version_info[:2]):
            return python
    return None


def as_account(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a command under the account, without any group but its own."""
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
