"""A user that lanes may run as, and a Python that it may run. Needs root."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from voxfleet_agent.lanes.lane_user import other_members


def _shares_its_group(name: str) -> bool:
    """Debian's nobody shares its primary group with others, and so cannot be a lane user."""
    try:
        return bool(other_members(pwd.getpwnam(name)))
    except KeyError:
        return True


ACCOUNT = next(
    (name for name in ("games", "news", "www-data", "_www", "daemon") if not _shares_its_group(name)),
    "nobody",
)
ENTRY = pwd.getpwnam(ACCOUNT)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process under another account")


def make_python(folder: Path) -> Path | None:
    """Makes an interpreter with this project's packages that the user may run; the current one may be in a home."""
    python = folder / "bin" / "python"
    for base in (sys.executable, "/usr/bin/python3"):
        made = subprocess.run([base, "-m", "venv", "--clear", "--without-pip", folder], check=False)
        if made.returncode != 0:
            continue
        site = next((folder / "lib").glob("python3.*")) / "site-packages"
        (site / "project.pth").write_text("\n".join(path for path in sys.path if path and Path(path).is_dir()))
        check = "import sys, mlx.core, voxfleet_agent; print(sys.version_info[:2])"
        found = as_account("/usr/bin/env", python, "-c", check)  # env fails instead of this process
        if found.returncode == 0 and found.stdout.strip() == str(sys.version_info[:2]):
            return python
    return None


def as_account(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a command as the user, with its primary group alone."""
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
