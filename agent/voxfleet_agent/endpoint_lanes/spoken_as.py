"""How a text is spoken: as the endpoint says, but for what its caller chooses. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import ValidationError

from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_task import Synthesis, SynthesisMode
from voxfleet_api.session_protocol import OpenSpeaking

_TAKES_NONE: Mapping[tuple[SynthesisMode, str], str] = MappingProxyType(
    {
        (SynthesisMode.PRESET, "instruction"): "the endpoint speaks with preset voices, which take no instruction",
        (SynthesisMode.VOICE_DESIGN, "voice"): "the endpoint designs its voice by an instruction; send that",
    }
)


def spoken_as(synthesis: Synthesis, request: OpenSpeaking) -> Synthesis:
    """`synthesis`: the lane's. Raises VoxFleetError(INVALID_INPUT) naming the field that cannot be chosen."""
    interval = None if request.interval_milliseconds is None else f"{request.interval_milliseconds}ms"
    chosen = {
        "voice": request.voice,
        "instruction": request.instruction,
        "language": request.language,
        "speed_percent": request.speed_percent,
        "streaming_interval": interval,
    }
    changes = {field: value for field, value in chosen.items() if value is not None}
    for field in changes:
        reason = _TAKES_NONE.get((synthesis.mode, field))
        if field == "voice" and synthesis.reference is not None:
            reason = "the endpoint speaks with the voice of a recording"
        if reason is not None:
            raise _refused(field, reason)
    try:
        return Synthesis.model_validate({**dict(synthesis), **changes})
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        raise _refused(field, error.errors()[0]["msg"]) from error


def _refused(field: str, reason: str) -> VoxFleetError:
    return VoxFleetError(FailureClass.INVALID_INPUT, f"{field}: {reason}")
