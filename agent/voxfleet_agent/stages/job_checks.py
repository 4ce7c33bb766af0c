"""What a job asks for, against what its contract allows. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from voxfleet_agent.stages.speech import worst_case_bytes
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
