"""Checks what a job requests against its contract and its model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from voxfleet_agent.engine.languages import known_languages
from voxfleet_agent.engine.model_rates import (
    heard_rate_hz,
    heard_rate_problems,
    spoken_rate_hz,
    spoken_rate_problems,
)
from voxfleet_agent.engine.synthesis_families import check_synthesis, synthesis_family_of, voices_in
from voxfleet_agent.engine.transcription_families import TRANSCRIPTION_FAMILIES, check_transcription
from voxfleet_agent.models.model_files import read_config
from voxfleet_agent.stages.synthesis_files import worst_case_bytes
from voxfleet_api.attempt_spec import AttemptSpec
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import OutputFormat, Timestamps
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.quantities import quantity_bytes

_TIMED = frozenset({OutputFormat.SRT, OutputFormat.VTT})


def require_contract_allows(spec: AttemptSpec) -> None:
    """Raises VoxFleetError(INVALID_INPUT) naming each wrong field and what to write. Pure."""
    problems = [*_format_problems(spec), *(_synthesis_problems(spec) if spec.task is Task.SYNTHESIZE else ())]
    if problems:
        raise VoxFleetError(FailureClass.INVALID_INPUT, "; ".join(problems))


def _format_problems(spec: AttemptSpec) -> Iterator[str]:
    output = spec.contract.output
    for requested in _requested_formats(spec):
        if requested not in output.formats:
            listed = ", ".join(item.value for item in output.formats)
            yield f"spec.output.formats: the contract does not list {requested.value}; it lists {listed}"
        elif requested in _TIMED and output.timestamps is Timestamps.NONE:
            yield (
                f"spec.output.formats: {requested.value} needs times; write output.timestamps: Segment in the contract"
            )


def _synthesis_problems(spec: AttemptSpec) -> Iterator[str]:
    if spec.synthesis is None:
        yield "task Synthesize needs spec.synthesis"
    requested = _requested_formats(spec)
    if requested:
        yield (
            f"spec.output.formats: {requested[0].value} is a form of transcripts; task Synthesize writes jsonl and"
            " audio"
        )
    needed_bytes, limit_bytes = worst_case_bytes(spec.contract), quantity_bytes(spec.contract.scratch.max_bytes)
    if needed_bytes > limit_bytes:
        yield (
            f"the contract's scratch.maxBytes is {limit_bytes}, but a spoken file of input.maxClip"
            f" {spec.contract.input.max_clip} may need {needed_bytes}; raise the one or lower the other"
        )


def _requested_formats(spec: AttemptSpec) -> list[OutputFormat]:
    return [item for item in spec.formats if item is not OutputFormat.JSONL]


def require_model_supports(folder: Path, spec: AttemptSpec) -> None:
    """Raises VoxFleetError(INVALID_INPUT) for settings, a voice, timestamps or a rate that the model does not support.

    The message names all of them. When config.json does not name the family, or the family is not known here, the lane
    makes these checks when it loads the model.
    """
    config = read_config(folder)
    problems = [*_family_problems(folder, config, spec), *_rate_problems(config, spec)]
    if problems:
        raise VoxFleetError(FailureClass.INVALID_INPUT, "; ".join(problems))


def _family_problems(folder: Path, config: dict[str, object], spec: AttemptSpec) -> Iterator[str]:
    name = _string_field(config, "model_type")
    try:
        if spec.task is Task.TRANSCRIBE and name in TRANSCRIPTION_FAMILIES:
            check_transcription(
                name,
                TRANSCRIPTION_FAMILIES[name],
                spec.transcription,
                spec.contract.output.timestamps,
                known_languages(name, config),
            )
        family = synthesis_family_of(name, _string_field(config, "tts_model_type"), frozenset())
        if spec.synthesis is not None and family.named_by_config:
            voices = None if family.speakers_by_model else voices_in(folder)
            check_synthesis(name, family, spec.synthesis, voices)
    except VoxFleetError as error:
        yield error.message


def _rate_problems(config: dict[str, object], spec: AttemptSpec) -> Iterator[str]:
    name = _string_field(config, "model_type")
    if spec.task is Task.TRANSCRIBE:
        heard_hz = heard_rate_hz(name, config)
        return heard_rate_problems(spec.contract, heard_hz) if heard_hz is not None else iter(())
    spoken_hz = spoken_rate_hz(name, config)
    return spoken_rate_problems(spec.contract, spoken_hz) if spoken_hz is not None else iter(())


def _string_field(config: dict[str, object], name: str) -> str:
    value = config.get(name)
    return value if isinstance(value, str) else ""
