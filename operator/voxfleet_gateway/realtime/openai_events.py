"""What a client of OpenAI's realtime API sends, as far as it is served: transcription. Pure.

Strict: a field that would change how audio is heard, and is not served, is an error that names it.
"""

from __future__ import annotations

import base64
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError, from_json

from voxfleet_gateway.realtime.strict_json import first_error, param_of

_MOST_ID_CHARACTERS = 512
_MOST_TYPE_CHARACTERS = 100


class EventRefused(Exception):
    """The session goes on. `event_id`: the client's own."""

    def __init__(self, code: str, message: str, *, param: str | None = None, event_id: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.event_id = event_id


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AudioFormat(_Strict):
    type: str = "audio/pcm"
    rate: Annotated[int, Field(ge=4_000, le=384_000)] | None = None

    @field_validator("type")
    @classmethod
    def _is_pcm(cls, value: str) -> str:
        if value in {"audio/pcmu", "audio/pcma"}:
            raise PydanticCustomError("not_served", "G.711 (audio/pcmu, audio/pcma) is not served; send audio/pcm")
        if value != "audio/pcm":
            raise PydanticCustomError("not_served", "only audio/pcm is served")
        return value


class ServerVad(_Strict):
    type: str
    threshold: Annotated[float, Field(ge=0.01, le=0.99)] | None = None
    prefix_padding_ms: Annotated[int, Field(ge=0, le=5_000)] | None = None
    silence_duration_ms: Annotated[int, Field(ge=100, le=10_000)] | None = None
    create_response: Literal[False] | None = None
    interrupt_response: Literal[False] | None = None
    idle_timeout_ms: None = None

    @model_validator(mode="before")
    @classmethod
    def _is_server_vad(cls, value: object) -> object:
        detection = value.get("type") if isinstance(value, dict) else None
        if detection == "semantic_vad":
            raise PydanticCustomError("not_served", "semantic_vad is not served; write server_vad or null")
        if detection != "server_vad":
            raise PydanticCustomError("not_served", "write {type: server_vad} or null")
        return value


class Transcription(_Strict):
    model: Annotated[str, Field(max_length=256)] | None = None
    language: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    prompt: Literal[""] | None = None
    delay: None = None
    keywords: Annotated[list[str], Field(max_length=0)] | None = None
    languages: Annotated[list[str], Field(max_length=0)] | None = None


class AudioInput(_Strict):
    format: AudioFormat | None = None
    noise_reduction: None = None
    transcription: Transcription = Transcription()
    turn_detection: ServerVad | None = None


class Audio(_Strict):
    input: AudioInput = AudioInput()


class SessionFields(_Strict):
    type: Literal["transcription"] = "transcription"
    model: Annotated[str, Field(max_length=256)] | None = None
    """mlx-audio's clients name it here."""
    audio: Audio = Audio()
    include: Annotated[list[str], Field(max_length=0)] | None = None


class _Event(_Strict):
    event_id: Annotated[str, Field(max_length=_MOST_ID_CHARACTERS)] | None = None


class SessionUpdate(_Event):
    type: Literal["session.update"]
    session: SessionFields


class AppendAudio(_Event):
    type: Literal["input_audio_buffer.append"]
    audio: str
    """Base64 of PCM16, cut anywhere."""


class CommitAudio(_Event):
    type: Literal["input_audio_buffer.commit"]


class ClearAudio(_Event):
    type: Literal["input_audio_buffer.clear"]


ClientEvent = SessionUpdate | AppendAudio | CommitAudio | ClearAudio

_EVENTS: dict[str, type[ClientEvent]] = {
    "session.update": SessionUpdate,
    "input_audio_buffer.append": AppendAudio,
    "input_audio_buffer.commit": CommitAudio,
    "input_audio_buffer.clear": ClearAudio,
}


def client_event(message: str | bytes) -> ClientEvent:
    """Raises EventRefused, with the client's event_id where it has one."""
    if isinstance(message, bytes):
        raise EventRefused("invalid_value", "a binary message; send audio as input_audio_buffer.append, in base64")
    try:
        fields = from_json(message)
    except ValueError as error:
        raise EventRefused("invalid_json", "the message is no JSON") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("type"), str):
        raise EventRefused("missing_required_parameter", "the message has no type; send a JSON object", param="type")
    event_id = fields.get("event_id")
    known_id = event_id[:_MOST_ID_CHARACTERS] if isinstance(event_id, str) else None
    event_type: str = fields["type"]
    model = _EVENTS.get(event_type)
    if model is None:
        raise EventRefused(
            "unknown_event",
            f"{event_type[:_MOST_TYPE_CHARACTERS]} is not served; this endpoint takes {', '.join(_EVENTS)}",
            param="type",
            event_id=known_id,
        )
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise EventRefused("invalid_value", first_error(error), param=param_of(error), event_id=known_id) from error


def pcm_of(event: AppendAudio) -> bytes:
    """PCM16, which may begin and end within a sample. Raises EventRefused for what is no base64."""
    try:
        return base64.b64decode(event.audio, validate=True)
    except ValueError as error:
        raise EventRefused("invalid_value", "audio: no base64", param="audio", event_id=event.event_id) from error
