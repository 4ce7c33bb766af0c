"""The environment of a lane's child. It holds no secret, but does hold the names that a runbook greps for."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from voxfleet_agent import blas, mlx_audio_names
from voxfleet_agent.lanes.lane_types import LaneSpec
from voxfleet_api.kinds.job_task import Task


def child_environment(inherited: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The child inherits no secret of the agent's environment, and nothing that changes a conversion."""
    environment = {
        "PATH": inherited.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "HF_HUB_OFFLINE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        # The lane can write to its folder: what one child left there must not become the code of the next.
        "PYTHONSAFEPATH": "1",
        "PYTHONNOUSERSITE": "1",
    }
    if sys.platform == "linux":
        # MLX would run a C++ compiler in the lane, and on a CPU compiled code is not measurably faster.
        environment["MLX_DISABLE_COMPILE"] = "1"
        environment[blas.THREADS_VARIABLE] = blas.threads_per_lane(inherited)
        if "LD_PRELOAD" in inherited:
            environment["LD_PRELOAD"] = inherited["LD_PRELOAD"]
    return environment


def runbook_names(spec: LaneSpec, batch_size: int, folder: Path, quarantine: Path | None) -> dict[str, str]:
    """TMPDIR and the MLX_AUDIO_ names, as the contract declares them.

    The sample rate is missing when the contract leaves it open: then it is the model's own.
    """
    contract = spec.contract
    names = {
        mlx_audio_names.TMPDIR: str(folder),
        mlx_audio_names.BATCH_SIZE: str(batch_size),
        mlx_audio_names.MAX_RETRIES: str(contract.retries.max_retries),
        mlx_audio_names.QUARANTINE: str(quarantine or folder / "quarantine"),
    }
    if spec.task is Task.SYNTHESIZE:
        names[mlx_audio_names.SAMPLE_RATE] = str(contract.output.audio.sample_rate_hz)
    elif contract.conversions.resample is not None:
        names[mlx_audio_names.SAMPLE_RATE] = str(contract.conversions.resample.to_hz)
    return names
