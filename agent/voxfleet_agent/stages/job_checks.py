"""What a job asks for, against what its contract allows. Pure."""

from __future__ import annotations

from voxfleet_agent.stages.speech import worst_case_bytes
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import OutputFormat, Timestamps
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.protocol import AttemptSpec
from voxfleet_api.quantities import quantity_bytes

_TIMED = frozenset({OutputFormat.SRT, OutputFormat.VTT})


def require_possible(spec: AttemptSpec) -> None:
    """Raises VoxFleetError(INVALID_INPUT) naming the field and what to write."""
    output, asked = spec.contract.output, [form for form in spec.formats if form is not OutputFormat.JSONL]
    for form in asked:
        if form not in output.formats:
            listed = ", ".join(item.value for item in output.formats)
            raise _invalid(f"spec.output.formats: the contract does not list {form.value}; it lists {listed}")
        if form in _TIMED and output.timestamps is Timestamps.NONE:
            raise _invalid(
                f"spec.output.formats: {form.value} needs times; write output.timestamps: Segment in the contract"
            )
    if spec.task is not Task.SYNTHESIZE:
        return
    if spec.synthesis is None:
        raise _invalid("task Synthesize needs spec.synthesis")
    if asked:
        raise _invalid(
            f"spec.output.formats: {asked[0].value} is a form of transcripts; task Synthesize writes jsonl and audio"
        )
    needed_bytes, most_bytes = worst_case_bytes(spec.contract), quantity_bytes(spec.contract.scratch.max_bytes)
    if needed_bytes > most_bytes:
        raise _invalid(
            f"the contract's scratch.maxBytes is {most_bytes}, but a spoken file of input.maxClip"
            f" {spec.contract.input.max_clip} may need {needed_bytes}; raise the one or lower the other"
        )


def _invalid(message: str) -> VoxFleetError:
    return VoxFleetError(FailureClass.INVALID_INPUT, message)
