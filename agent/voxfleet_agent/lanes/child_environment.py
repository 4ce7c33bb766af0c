"""What a lane's child sees of the world: no secret, and the names that a runbook greps for."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from voxfleet_agent import mlx_audio_names
from voxfleet_agent.lanes.lane_types import LaneSpec
from voxfleet_api.kinds.job_task import Task

BLAS_THREADS = "OPENBLAS_NUM_THREADS"


def blas_threads(inherited: Mapping[str, str]) -> str:
    """Of each lane, on Linux: a second one spends a processor and gains little (ADR 15)."""
    return inherited.get(BLAS_THREADS) or "1"


def child_environment(inherited: Mapping[str, str], folder: Path) -> dict[str, str]:
    """What the child gets of the agent's environment: no secret, and nothing that changes a conversion."""
    environment = {
        "PATH": inherited.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "HF_HUB_OFFLINE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        # The folder is the lane's to write: what one child left there must not be the code of the next.
        "PYTHONSAFEPATH": "1",
        "PYTHONNOUSERSITE": "1",
    }
    if sys.platform == "linux":
        # MLX would run a C++ compiler in the lane for what it gains on a CPU: nothing that can be measured.
        environment["MLX_DISABLE_COMPILE"] = "1"
        environment[BLAS_THREADS] = blas_threads(inherited)
        if "LD_PRELOAD" in inherited:
            environment["LD_PRELOAD"] = inherited["LD_PRELOAD"]
    return environment


def runbook_names(order: LaneSpec, batch_size: int, folder: Path, quarantine: Path | None) -> dict[str, str]:
    """TMPDIR and the MLX_AUDIO_ names, as the contract has it. A rate that it leaves open is the model's own."""
    contract = order.contract
    names = {
        mlx_audio_names.TMPDIR: str(folder),
        mlx_audio_names.BATCH_SIZE: str(batch_size),
        mlx_audio_names.MAX_RETRIES: str(contract.retries.max_retries),
        mlx_audio_names.QUARANTINE: str(quarantine or folder / "quarantine"),
    }
    if order.task is Task.SYNTHESIZE:
        names[mlx_audio_names.SAMPLE_RATE] = str(contract.output.audio.sample_rate_hz)
    elif contract.conversions.resample is not None:
        names[mlx_audio_names.SAMPLE_RATE] = str(contract.conversions.resample.to_hz)
    return names
