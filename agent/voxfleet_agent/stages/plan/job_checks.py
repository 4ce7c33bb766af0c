"""What a job asks for, against what its contract allows. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from voxfleet_agent.engine.synthesis_families import check_synthesis, synthesis_family_of, voices_in
from voxfleet_agent.engine.transcription_families import TRANSCRIPTION_FAMILIES, check_transcription
from voxfleet_agent.models.model_files import open_regular
from voxfleet_agent.stages.synthesis_files import worst_case_bytes
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import OutputFormat, Timestamps
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.protocol import AttemptSpec
from voxfleet_api.quantities import quantity_bytes

_TIMED = frozenset({OutputFormat.SRT, OutputFormat.VTT})


def require_possible(spec: AttemptSpec) -> None:
    """Raises VoxFleetError(INVALID_INPUT) naming each wrong field and what to write."""
    problems = [*_format_problems(spec), *(_speech_problems(spec) if spec.task is Task.SYNTHESIZE else ())]
    if problems:
        raise VoxFleetError(FailureClass.INVALID_INPUT, "; ".join(problems))


def _format_problems(spec: AttemptSpec) -> Iterator[str]:
    output = spec.contract.output
    for form in _asked(spec):
        if form not in output.formats:
            listed = ", ".join(item.value for item in output.formats)
            yield f"spec.output.formats: the contract does not list {form.value}; it lists {listed}"
        elif form in _TIMED and output.timestamps is Timestamps.NONE:
            yield f"spec.output.formats: {form.value} needs times; write output.timestamps: Segment in the contract"


def _speech_problems(spec: AttemptSpec) -> Iterator[str]:
    if spec.synthesis is None:
        yield "task Synthesize needs spec.synthesis"
    asked = _asked(spec)
    if asked:
        yield f"spec.output.formats: {asked[0].value} is a form of transcripts; task Synthesize writes jsonl and audio"
    needed_bytes, most_bytes = worst_case_bytes(spec.contract), quantity_bytes(spec.contract.scratch.max_bytes)
    if needed_bytes > most_bytes:
        yield (
            f"the contract's scratch.maxBytes is {most_bytes}, but a spoken file of input.maxClip"
            f" {spec.contract.input.max_clip} may need {needed_bytes}; raise the one or lower the other"
        )


def _asked(spec: AttemptSpec) -> list[OutputFormat]:
    return [form for form in spec.formats if form is not OutputFormat.JSONL]


_CONFIG_LIMIT_BYTES = 2**20


def require_suited(folder: Path, spec: AttemptSpec) -> None:
    """Raises VoxFleetError(INVALID_INPUT) for settings, a voice, or times, that the model's family does not have.

    The message names all of them. A family that config.json does not name, or that is not known here, is told by the
    lane once it loads the model.
    """
    config = _config(folder / "config.json")
    name = _text(config, "model_type")
    try:
        if spec.task is Task.TRANSCRIBE and name in TRANSCRIPTION_FAMILIES:
            check_transcription(name, TRANSCRIPTION_FAMILIES[name], spec.transcription, spec.contract.output.timestamps)
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
