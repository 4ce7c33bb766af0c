"""Versions of what was measured."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from voxfleet_dev import binaries
from voxfleet_dev.mac import agent_environment

PACKAGES = ("mlx", "mlx-audio", "mlx-audio-io")
SERVERS = ("kube-apiserver", "etcd")


def versions(peers: Sequence[str] = ()) -> dict[str, str]:
    """By name: python, the packages, the servers, `peers` and blas. Raises go_build.BuildFailed."""
    found = {"python": platform.python_version()}
    found.update({package: version(package) for package in PACKAGES})
    found.update({name: _told(path) for name, path in binaries.ensure((*SERVERS, *peers)).items()})
    found["blas"] = _blas()
    return found


def _told(server: Path) -> str:
    answer = subprocess.run([server, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout
    match = re.search(r"\d+\.\d+\.\d+\S*", answer)
    return match.group() if match else "unknown"


def _blas() -> str:
    """The library that is loaded ahead of the one in MLX's wheel, by its real name."""
    if sys.platform == "darwin":
        return "Accelerate"
    loaded = [Path(word) for word in agent_environment().get("LD_PRELOAD", "").split() if "openblas" in word]
    return loaded[0].resolve().name if loaded else "of the mlx wheel"
