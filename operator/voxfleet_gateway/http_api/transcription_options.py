"""What a client asks of a transcription, out of the fields of its form. Pure.

The names are those of OpenAI's API and of mlx-audio's server. A field that the endpoint cannot follow is refused by
name, unless it says what is done anyway, so that clients may send their defaults.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from voxfleet_gateway.refusals import CallRefused


class ResponseFormat(StrEnum):
    JSON = "json"
    TEXT = "text"
    VERBOSE_JSON = "verbose_json"
    SRT = "srt"
    VTT = "vtt"
    NDJSON = "ndjson"


@dataclass(frozen=True, slots=True)
class TranscriptionOptions:
    model: str | None = None
    """None: the endpoint's own."""
    language: str | None = None
    """None: as the endpoint says."""
    response_format: ResponseFormat = ResponseFormat.JSON
    stream: bool = False


class StreamForm(StrEnum):
    """How a streamed transcript is written."""

    LINES = "application/x-ndjson"
    EVENTS = "text/event-stream"


def stream_form(accept: str, response_format: ResponseFormat) -> StreamForm:
    """`accept`: the request's header. OpenAI's clients say `application/json` and read events; curl says `*/*`."""
    kinds = {part.split(";")[0].strip().lower() for part in accept.split(",")}
    if response_format is ResponseFormat.NDJSON or StreamForm.LINES in kinds:
        return StreamForm.LINES
    if StreamForm.EVENTS in kinds or kinds == {"application/json"}:
        return StreamForm.EVENTS
    return StreamForm.LINES


def read_options(fields: Sequence[tuple[str, str]]) -> TranscriptionOptions:
    """`fields`: names and values in the order of the form. Raises CallRefused(400), naming the field."""
    found: dict[str, str] = {}
    for name, value in fields:
        known = re.sub(r"\[.*", "", name)
        if known in _LISTS:
            _check(known, value, _LISTS[known])
        elif known != name or known not in (*_READ, *_SAID_ANYWAY):
            raise _refused(name, "is not known here; leave it out")
        elif known in found:
            raise _refused(name, "is there more than once")
        else:
            found[known] = value
    for name, accepts in _SAID_ANYWAY.items():
        _check(name, found.get(name, ""), accepts)
    response_format, stream = _response_format(found.get("response_format")), _truth("stream", found.get("stream", ""))
    if stream and response_format not in (ResponseFormat.JSON, ResponseFormat.NDJSON):
        raise _refused("response_format", "of a stream is json, with events, or ndjson; leave it out")
    language = found.get("language") or None
    if language is not None and len(language) > _LANGUAGE_CHARACTERS:
        raise _refused("language", f"is longer than {_LANGUAGE_CHARACTERS} characters; write a code such as en")
    return TranscriptionOptions(
        model=found.get("model") or None,
        language=language,
        response_format=response_format,
        stream=stream or response_format is ResponseFormat.NDJSON,
    )


_LANGUAGE_CHARACTERS = 64
_READ = ("model", "language", "response_format", "stream")
_TRUTHS = {"": False, "false": False, "0": False, "off": False, "no": False} | dict.fromkeys(
    ("true", "1", "on", "yes"), True
)
Accepts = Callable[[str], bool]


def _number(expected: float) -> Accepts:
    def accepts(value: str) -> bool:
        try:
            return float(value) == expected
        except ValueError:
            return False

    return accepts


def _one_of(*values: str) -> Accepts:
    return lambda value: value.lower() in values


_LISTS: dict[str, Accepts] = {"timestamp_granularities": _one_of("segment")}
_SAID_ANYWAY: dict[str, Accepts] = {
    "prompt": _one_of(),
    "temperature": _number(0),
    "chunking_strategy": _one_of("auto"),
    "context": _one_of(),
    "text": _one_of(),
    "max_tokens": _one_of(),
    "verbose": _one_of("false", "0"),
    "word_timestamps": _one_of("false", "0"),
    "chunk_duration": _number(30),
    "frame_threshold": _number(25),
    "prefill_step_size": _number(2048),
}


def _check(name: str, value: str, accepts: Accepts) -> None:
    if value.strip() and not accepts(value.strip()):
        raise _refused(name, "cannot be chosen by a call, for the endpoint and its contract say how is transcribed")


def _response_format(value: str | None) -> ResponseFormat:
    try:
        return ResponseFormat(value or ResponseFormat.JSON)
    except ValueError:
        raise _refused("response_format", f"is one of {', '.join(ResponseFormat)}") from None


def _truth(name: str, value: str) -> bool:
    if value.strip().lower() not in _TRUTHS:
        raise _refused(name, "is true or false")
    return _TRUTHS[value.strip().lower()]


def _refused(name: str, what: str) -> CallRefused:
    shown = name if re.fullmatch(r"[A-Za-z0-9_.\[\]-]{1,64}", name) else "a field of the form"
    return CallRefused(400, "invalid_value", f"{shown} {what}", param=shown if shown == name else None)
