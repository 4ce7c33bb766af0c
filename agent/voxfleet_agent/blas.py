"""The BLAS that MLX computes with on Linux: where a faster one is installed, and the threads of each lane."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

THREADS_VARIABLE = "OPENBLAS_NUM_THREADS"
DEBIAN_OPENBLAS = "/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblas.so.0"
_USR = Path("/usr")
_OPENBLAS_PATTERNS = ("lib/*/openblas-pthread/libopenblas.so.0", "lib64/libopenblasp.so.0", "lib/libopenblas.so.0")
"""The places where Debian, Fedora and Arch install it."""
_MEMORY_MAP = Path("/proc/self/maps")


def installed_openblas() -> str | None:
    """The file of an installed OpenBLAS with threads, for LD_PRELOAD."""
    return next((str(file) for pattern in _OPENBLAS_PATTERNS for file in sorted(_USR.glob(pattern))), None)


def loaded_openblas() -> str | None:
    """The file of the OpenBLAS that this process has loaded."""
    lines = _MEMORY_MAP.read_text().splitlines() if _MEMORY_MAP.exists() else ()
    files = (line.split()[-1] for line in lines)
    return next((file for file in files if Path(file).name.startswith("libopenblas")), None)


@dataclass(frozen=True, slots=True)
class SlowBlas:
    found: str
    mend: str


def slowness(platform: str, loaded: str | None, installed: str | None) -> SlowBlas | None:
    """What makes MLX slow here, and what to do about it; None: nothing does. Pure.

    `loaded`, `installed`: the OpenBLAS file of this process and of this machine; None where there is none.
    """
    if platform != "linux" or loaded is not None:
        return None
    first = "" if installed is not None else "install libopenblas0-pthread, then "
    return SlowBlas(
        "MLX's own BLAS on Linux is 3 to 12 times slower than OpenBLAS, which is not loaded",
        f"{first}run `export LD_PRELOAD={installed or DEBIAN_OPENBLAS}` before you start voxfleet-agent",
    )


def in_use(platform: str = sys.platform) -> str:
    """The BLAS that MLX computes with in this process; texts may differ between two of them."""
    if platform == "darwin":
        return "Accelerate"
    loaded = loaded_openblas()
    return "bundled with mlx" if loaded is None else Path(loaded).resolve().name


def threads_per_lane(environment: Mapping[str, str]) -> str:
    """The value of THREADS_VARIABLE for a lane: a second thread costs a processor and gains little (ADR 15)."""
    return environment.get(THREADS_VARIABLE) or "1"
