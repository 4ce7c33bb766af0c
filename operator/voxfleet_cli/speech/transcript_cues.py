"""A transcript that came piece by piece, in the formats of `voxfleet transcribe`. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from voxfleet_api.rows import TimedText
from voxfleet_api.subtitle_cues import cues
from voxfleet_api.subtitle_files import srt, vtt


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
    """Text, and from when to when its turn was spoken, in seconds, where that is known."""

    text: str
    start_seconds: float | None = None
    end_seconds: float | None = None
    ends_turn: bool = True
    """False: more of the same turn follows."""


def whole_text(pieces: Sequence[Piece]) -> str:
    """The pieces one after the other, and a space between turns that bring none."""
    text = ""
    for turn in joined(pieces):
        missing = text and not text[-1].isspace() and not turn.text[0].isspace()
        text += f" {turn.text}" if missing else turn.text
    return text.strip()


def document(pieces: Sequence[Piece], format_: TranscriptFormat) -> str:
    """Raises ValueError for subtitles of turns without times."""
    if format_ is TranscriptFormat.TXT:
        return f"{whole_text(pieces)}\n"
    turns = joined(pieces)
    if format_ is TranscriptFormat.JSON:
        segments = [{"text": turn.text.strip(), "start": turn.start_seconds, "end": turn.end_seconds} for turn in turns]
        return json.dumps({"text": whole_text(pieces), "segments": segments}, ensure_ascii=False) + "\n"
    segments_ = [_timed(turn) for turn in turns]
    subtitles = cues(segments_, (), max((segment.end_milliseconds for segment in segments_), default=0))
    return (srt if format_ is TranscriptFormat.SRT else vtt)(subtitles).decode()


def joined(pieces: Sequence[Piece]) -> list[Piece]:
    """One piece a turn, of those that hold text."""
    turns: list[Piece] = []
    open_turn: list[Piece] = []
    for number, piece in enumerate(pieces, 1):
        open_turn.append(piece)
        if piece.ends_turn or number == len(pieces):
            turns.append(_as_one(open_turn))
            open_turn = []
    return [turn for turn in turns if turn.text.strip()]


def _as_one(pieces: Sequence[Piece]) -> Piece:
    starts = [piece.start_seconds for piece in pieces if piece.start_seconds is not None]
    ends = [piece.end_seconds for piece in pieces if piece.end_seconds is not None]
    return Piece("".join(piece.text for piece in pieces), min(starts) if starts else None, max(ends) if ends else None)


def _timed(turn: Piece) -> TimedText:
    if turn.start_seconds is None or turn.end_seconds is None:
        raise ValueError("the endpoint tells no times of this text, so that it makes no subtitles; write --format txt")
    start, end = round(turn.start_seconds * 1000), round(turn.end_seconds * 1000)
    return TimedText(start_milliseconds=start, end_milliseconds=max(start, end), text=turn.text)
