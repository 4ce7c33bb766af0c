"""What a client asks to be spoken, out of the JSON of its call. Pure.

The names are those of OpenAI's API and of mlx-audio's server. What the endpoint cannot follow is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from voxfleet_api.kinds.job_task import MAX_TEXT_CHARACTERS
from voxfleet_gateway.refusals import CallRefused

ENDPOINTS_VOICE = "default"
"""The name of the voice that the endpoint speaks with unless it is told another."""


class SpeechFormat(StrEnum):
    WAV = "wav"
    PCM = "pcm"
    FLAC = "flac"


@dataclass(frozen=True, slots=True)
class SpeechOptions:
    text: str
    model: str | None = None
    """None, of this and of the others: as the endpoint says."""
    voice: str | None = None
    instruction: str | None = None
    language: str | None = None
    speed_percent: int | None = None
    interval_milliseconds: int | None = None
    response_format: SpeechFormat = SpeechFormat.WAV
    stream: bool = False
    """Raw PCM, which has no header, is streamed unless the call says otherwise."""


def read_options(body: bytes) -> SpeechOptions:
    """Raises CallRefused(400), naming the field."""
    try:
        call = _SpeechCall.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False, include_context=False, include_input=False)[0]) from None
    if call.stream_format == "sse":
        raise _refused("stream_format", "is audio; speech is not told as events here")
    if call.instruct is not None and call.instructions is not None and call.instruct != call.instructions:
        raise _refused("instructions", "and instruct say different things; write one of them")
    if call.response_format not in (None, *SpeechFormat):
        raise _refused("response_format", f"is one of {', '.join(SpeechFormat)}; nothing else is encoded here")
    response_format = SpeechFormat(call.response_format or SpeechFormat.WAV)
    wants_whole = call.stream is False or (call.stream is None and response_format is not SpeechFormat.PCM)
    voice = call.voice.id if isinstance(call.voice, _Voice) else call.voice
    return SpeechOptions(
        text=call.input,
        model=call.model,
        voice=None if voice == ENDPOINTS_VOICE else voice,
        instruction=call.instruct or call.instructions or None,
        language=call.lang_code,
        speed_percent=None if call.speed is None else round(call.speed * 100),
        interval_milliseconds=None if call.streaming_interval is None else round(call.streaming_interval * 1000),
        response_format=response_format,
        stream=call.stream_format == "audio" or not wants_whole,
    )


VoiceName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[\w][\w ,()-]*$")]
"""No dot and no slash: a voice is a name, and never a path."""


class _Voice(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: VoiceName


class _SpeechCall(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    input: Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARACTERS, pattern=r"\S")]
    model: str | None = None
    voice: VoiceName | _Voice | None = None
    instruct: Annotated[str, Field(max_length=1000)] | None = None
    instructions: Annotated[str, Field(max_length=1000)] | None = None
    lang_code: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    speed: Annotated[float, Field(ge=0.25, le=4)] | None = None
    stream: bool | None = None
    stream_format: Literal["audio", "sse"] | None = None
    streaming_interval: Annotated[float, Field(ge=0.01, le=60)] | None = None
    response_format: str | None = None
    ref_audio: None = None
    ref_text: None = None
    # What mlx-audio's clients may send and the endpoint's model decides: its own defaults, and nothing else.
    gender: Literal["male"] | None = None
    pitch: Annotated[float, Field(ge=1, le=1)] | None = None
    temperature: Annotated[float, Field(ge=0.7, le=0.7)] | None = None
    top_p: Annotated[float, Field(ge=0.95, le=0.95)] | None = None
    top_k: Literal[40] | None = None
    repetition_penalty: Annotated[float, Field(ge=1, le=1)] | None = None
    max_tokens: Literal[1200] | None = None
    verbose: Literal[False] | None = None


_ADVICE = {
    "input": f"is a text of 1 to {MAX_TEXT_CHARACTERS} characters, not of spaces alone; split a longer one",
    "model": "is a name",
    "voice": "is the name of a voice, such as GET /v1/audio/voices tells, and no path",
    "instruct": "is a text of 1,000 characters at most",
    "instructions": "is a text of 1,000 characters at most",
    "lang_code": "is a code or a name of 64 characters at most",
    "speed": "is a number from 0.25 to 4",
    "stream": "is true or false",
    "stream_format": "is audio",
    "streaming_interval": "is a number of seconds from 0.01 to 60",
    "response_format": f"is one of {', '.join(SpeechFormat)}",
    "ref_audio": "cannot be chosen by a call: voices come from the endpoint",
    "ref_text": "cannot be chosen by a call: voices come from the endpoint",
}


def _refusal(error: ErrorDetails) -> CallRefused:
    if not error["loc"]:
        return CallRefused(400, "invalid_json", "the body is no JSON object; write one with input")
    name = str(error["loc"][0])
    if name not in _SpeechCall.model_fields:
        shown = name if name.isidentifier() and name.isascii() and len(name) <= 64 else "a field"
        return CallRefused(400, "unknown_parameter", f"{shown} is not known here; leave it out", param=shown)
    return _refused(name, _ADVICE.get(name, "cannot be chosen by a call: the endpoint says how is spoken"))


def _refused(name: str, what: str) -> CallRefused:
    return CallRefused(400, "invalid_value", f"{name} {what}", param=name)
