"""Writes a clip's row as a transcript file: json, srt, vtt or txt. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from voxfleet_agent.stages.finalize.subtitle_cues import Cue, cues
from voxfleet_api.digest import canonical_json
from voxfleet_api.kinds.contract_output import OutputFormat
from voxfleet_api.rows import ResultRow

_ARROW = re.compile(r"-{2,}>")


def srt(row: ResultRow) -> bytes:
    """SubRip: cues numbered from 1, a comma before the milliseconds, one empty line after each cue.

    SubRip has no escapes: `<` and `&` stand for themselves. An arrow in the text, which would look like a line of
    times, keeps one dash.
    """
    blocks = [
        f"{number}\n{_cue_time(cue.start_milliseconds, ',')} --> {_cue_time(cue.end_milliseconds, ',')}\n"
        f"{_ARROW.sub('->', cue.text)}\n\n"
        for number, cue in enumerate(_cues(row), start=1)
    ]
    return "".join(blocks).encode()


def vtt(row: ResultRow) -> bytes:
    """WebVTT (W3C): the signature line, then cues. Their text is escaped, so that nothing looks like a tag or arrow."""
    blocks = ["WEBVTT\n"] + [
        f"\n{_cue_time(cue.start_milliseconds, '.')} --> {_cue_time(cue.end_milliseconds, '.')}\n{_escaped(cue.text)}\n"
        for cue in _cues(row)
    ]
    return "".join(blocks).encode()


def txt(row: ResultRow) -> bytes:
    """The text and a line feed; an empty file for an empty text."""
    text = (row.text or "").strip()
    return f"{text}\n".encode() if text else b""


def json(row: ResultRow) -> bytes:
    """The row's transcript fields as one object; times in milliseconds."""
    fields = {"index", "custom_id", "text", "language", "audio_milliseconds", "segments", "words"}
    return canonical_json(row.model_dump(mode="json", exclude_none=True, include=fields)) + b"\n"


WRITERS: Mapping[OutputFormat, Callable[[ResultRow], bytes]] = {
    OutputFormat.JSON: json,
    OutputFormat.SRT: srt,
    OutputFormat.VTT: vtt,
    OutputFormat.TXT: txt,
}
"""jsonl has no writer, because it is results.jsonl itself."""


def transcript_name(index: int, output_format: OutputFormat) -> str:
    """The path below the job's folder."""
    return f"transcripts/{index:06d}.{output_format.value}"


def _cues(row: ResultRow) -> list[Cue]:
    return cues(row.segments or row.words or (), row.words or (), row.audio_milliseconds)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cue_time(milliseconds: int, separator: str) -> str:
    seconds, thousandths = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{separator}{thousandths:03d}"
