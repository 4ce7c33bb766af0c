"""A transcript as one answer, in each of the formats that a client may ask for. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from voxfleet_api import subtitle_files
from voxfleet_api.subtitle_cues import Cue, cues
from voxfleet_gateway.http_api.transcript import Transcript
from voxfleet_gateway.http_api.transcription_options import ResponseFormat

_SUBTITLES: dict[ResponseFormat, tuple[str, Callable[[Iterable[Cue]], bytes]]] = {
    ResponseFormat.SRT: ("application/x-subrip; charset=utf-8", subtitle_files.srt),
    ResponseFormat.VTT: ("text/vtt; charset=utf-8", subtitle_files.vtt),
}


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    content_type: str
    body: bytes


def whole_answer(
    transcript: Transcript, response_format: ResponseFormat, *, audio_milliseconds: int, language: str | None
) -> WholeAnswer:
    """`language`: what counts where no turn knows its own; None: not known either."""
    if response_format is ResponseFormat.TEXT:
        return WholeAnswer("text/plain; charset=utf-8", f"{transcript.text}\n".encode())
    if response_format in _SUBTITLES:
        content_type, write = _SUBTITLES[response_format]
        return WholeAnswer(content_type, write(cues(transcript.segments, (), audio_milliseconds)))
    fields: dict[str, object] = {"text": transcript.text}
    if response_format is ResponseFormat.VERBOSE_JSON:
        fields |= _verbose_fields(transcript, audio_milliseconds, language)
    return WholeAnswer("application/json", json.dumps(fields, ensure_ascii=False).encode())


def _verbose_fields(transcript: Transcript, audio_milliseconds: int, language: str | None) -> dict[str, object]:
    duration = audio_milliseconds / 1000
    return {
        "task": "transcribe",
        "language": transcript.language or language,
        "duration": duration,
        "segments": [
            {
                "id": number,
                "start": segment.start_milliseconds / 1000,
                "end": segment.end_milliseconds / 1000,
                "text": segment.text,
            }
            for number, segment in enumerate(transcript.segments)
        ],
        "usage": {"type": "duration", "seconds": duration},
    }
