"""A transcript that came piece by piece, in the formats of `voxfleet transcribe`. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class TranscriptFormat(StrEnum):
    TXT = "txt"
    JSON = "json"
    SRT = "srt"
    VTT = "vtt"


RESPONSE_FORMATS = {
    TranscriptFormat.TXT: "text",
    TranscriptFormat.JSON: "verbose_json",
    TranscriptFormat.SRT: "srt",
    TranscriptFormat.VTT: "vtt",
}
"""What the gateway calls them."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Text, and from when to when it was spoken, in seconds, where that is known."""

    text: str
    start_seconds: float | None = None
    end_seconds: float | None = None
    is_final: bool = True
    """False: more of the same turn follows."""

    @property
    def is_timed(self) -> bool:
        return self.start_seconds is not None and self.end_seconds is not None


def whole_text(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces).strip()


def document(pieces: Sequence[Piece], format_: TranscriptFormat) -> str:
    """Ends with a line feed. Raises ValueError for subtitles of pieces without times."""
    turns = joined(pieces)
    if format_ is TranscriptFormat.TXT:
        return f"{whole_text(pieces)}\n"
    if format_ is TranscriptFormat.JSON:
        segments = [{"text": turn.text.strip(), "start": turn.start_seconds, "end": turn.end_seconds} for turn in turns]
        return json.dumps({"text": whole_text(pieces), "segments": segments}, ensure_ascii=False) + "\n"
    cues = [cue(number, turn, format_) for number, turn in enumerate(turns, 1)]
    head = "WEBVTT\n\n" if format_ is TranscriptFormat.VTT else ""
    return head + "\n".join(cues)


def joined(pieces: Sequence[Piece]) -> list[Piece]:
    """One piece a turn, of those that hold text."""
    turns: list[Piece] = []
    open_turn: list[Piece] = []
    for piece in pieces:
        open_turn.append(piece)
        if piece.is_final:
            turns.append(_as_one(open_turn))
            open_turn = []
    if open_turn:
        turns.append(_as_one(open_turn))
    return [turn for turn in turns if turn.text.strip()]


def cue(number: int, turn: Piece, format_: TranscriptFormat) -> str:
    """A subtitle. Raises ValueError for a turn without times."""
    if turn.start_seconds is None or turn.end_seconds is None:
        raise ValueError("the endpoint tells no times of this text, so that it makes no subtitles; write --format txt")
    point = "," if format_ is TranscriptFormat.SRT else "."
    times = f"{clock(turn.start_seconds, point)} --> {clock(max(turn.start_seconds, turn.end_seconds), point)}"
    # An arrow would end the text and begin another cue's times.
    text = " ".join(turn.text.split()).replace("-->", "->")
    if format_ is TranscriptFormat.VTT:
        text = text.replace("&", "&amp;").replace("<", "&lt;")
    return f"{number}\n{times}\n{text}\n"


def clock(seconds: float, point: str) -> str:
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}{point}{milliseconds:03d}"


def _as_one(pieces: Sequence[Piece]) -> Piece:
    starts = [piece.start_seconds for piece in pieces if piece.start_seconds is not None]
    ends = [piece.end_seconds for piece in pieces if piece.end_seconds is not None]
    return Piece(
        "".join(piece.text for piece in pieces),
        min(starts) if starts else None,
        max(ends) if ends else None,
    )
