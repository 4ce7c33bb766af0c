"""A transcript as it grows: lines as mlx-audio's server writes them, or OpenAI's events. Pure.

In both, the texts one after the other are the transcript.
"""

from __future__ import annotations

import json
from typing import Protocol

from voxfleet_api.session_protocol import TurnDone
from voxfleet_gateway.http_api.transcript import Transcript
from voxfleet_gateway.http_api.transcription_options import StreamForm
from voxfleet_gateway.refusals import CallRefused


class TranscriptStream(Protocol):
    """Each call returns what is written then, which may be nothing."""

    def delta(self, text: str) -> bytes: ...

    def turn(self, text: str, turn: TurnDone) -> bytes:
        """`text`: what the turn adds beyond its deltas."""
        ...

    def end(self, transcript: Transcript, audio_milliseconds: int) -> bytes: ...

    def failure(self, refusal: CallRefused) -> bytes: ...


def transcript_stream(form: StreamForm) -> TranscriptStream:
    return _Events() if form is StreamForm.EVENTS else _Lines()


class _Lines:
    """Holds each delta until what follows, so that the turn's last text has its times. Only the last line is final."""

    def __init__(self) -> None:
        self._held = ""

    def delta(self, text: str) -> bytes:
        earlier, self._held = self._held, text
        return _line(earlier, None, None, None) if earlier else b""

    def turn(self, text: str, turn: TurnDone) -> bytes:
        text, self._held = self._held + text, ""
        return _line(text, turn.start_milliseconds, turn.end_milliseconds, turn.language) if text else b""

    def end(self, transcript: Transcript, audio_milliseconds: int) -> bytes:
        return _line(self._held, audio_milliseconds, audio_milliseconds, transcript.language, is_final=True)

    def failure(self, refusal: CallRefused) -> bytes:
        return _json(refusal.error_object()) + b"\n"


class _Events:
    def delta(self, text: str) -> bytes:
        return _event({"type": "transcript.text.delta", "delta": text}) if text else b""

    def turn(self, text: str, turn: TurnDone) -> bytes:
        return self.delta(text)

    def end(self, transcript: Transcript, audio_milliseconds: int) -> bytes:
        usage = {"type": "duration", "seconds": audio_milliseconds / 1000}
        return _event({"type": "transcript.text.done", "text": transcript.text, "usage": usage})

    def failure(self, refusal: CallRefused) -> bytes:
        return b"event: error\n" + _event(refusal.error_object())


def _line(
    text: str,
    start_milliseconds: int | None,
    end_milliseconds: int | None,
    language: str | None,
    *,
    is_final: bool = False,
) -> bytes:
    return (
        _json(
            {
                "text": text,
                "start": None if start_milliseconds is None else start_milliseconds / 1000,
                "end": None if end_milliseconds is None else end_milliseconds / 1000,
                "is_final": is_final,
                "language": language,
            }
        )
        + b"\n"
    )


def _event(data: object) -> bytes:
    return b"data: " + _json(data) + b"\n\n"


def _json(value: object) -> bytes:
    """On one line: JSON has no line feeds of its own."""
    return json.dumps(value, ensure_ascii=False).encode()
