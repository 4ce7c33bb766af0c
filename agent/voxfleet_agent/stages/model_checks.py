"""Whether a model can do what the job asks, as far as its folder tells without loading it."""

from __future__ import annotations

import json
from pathlib import Path

from voxfleet_agent.engine.synthesis_families import check_synthesis, synthesis_family_of, voices_in
from voxfleet_agent.engine.transcription_families import FAMILIES, check_settings
from voxfleet_agent.models.model_files import open_regular
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.protocol import AttemptSpec

_CONFIG_LIMIT_BYTES = 2**20


def require_suited(folder: Path, spec: AttemptSpec) -> None:
    """Raises VoxFleetError(INVALID_INPUT) for settings, a voice, or times, that the model's family does not have.

    The message names all of them. A family that config.json does not name, or that is not known here, is told by the
    lane once it loads the model.
    """
    config = _config(folder / "config.json")
    name = _text(config, "model_type")
    try:
        if spec.task is Task.TRANSCRIBE and name in FAMILIES:
            check_settings(name, FAMILIES[name], spec.transcription, spec.contract.output.timestamps)
        family = synthesis_family_of(name, _text(config, "tts_model_type"), frozenset())
        if spec.synthesis is not None and family.named_by_config:
            voices = None if family.speakers_by_model else voices_in(folder)
            check_synthesis(name, family, spec.synthesis, voices)
    except VoxFleetError as error:
        raise VoxFleetError(FailureClass.INVALID_INPUT, error.message) from error


def _config(file: Path) -> dict[str, object]:
    """Empty when the file does not tell."""
    try:
        with open_regular(file) as opened:
            config = json.loads(opened.read(_CONFIG_LIMIT_BYTES))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _text(config: dict[str, object], name: str) -> str:
    found = config.get(name)
    return found if isinstance(found, str) else ""
