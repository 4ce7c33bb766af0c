"""Whether a model can do what the job asks, as far as its folder tells without loading it."""

from __future__ import annotations

import json
from pathlib import Path

from voxfleet_agent.engine.families import FAMILIES, check_settings
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.protocol import AttemptSpec

_CONFIG_LIMIT_BYTES = 2**20


def require_suited(folder: Path, spec: AttemptSpec) -> None:
    """Raises VoxFleetError(INVALID_INPUT) for a setting, or times, that the model's family does not have.

    A family that config.json does not name, or that is not known here, is told by the lane once it loads the model.
    """
    if spec.task is not Task.TRANSCRIBE:
        return
    name = _model_type(folder / "config.json")
    family = FAMILIES.get(name)
    if family is None:
        return
    try:
        check_settings(name, family, spec.transcription, spec.contract.output.timestamps)
    except VoxFleetError as error:
        raise VoxFleetError(FailureClass.INVALID_INPUT, error.message) from error


def _model_type(file: Path) -> str:
    """Empty when the file does not tell."""
    try:
        with file.open("rb") as opened:
            config = json.loads(opened.read(_CONFIG_LIMIT_BYTES))
    except (OSError, ValueError):
        return ""
    found = config.get("model_type") if isinstance(config, dict) else None
    return found if isinstance(found, str) else ""
