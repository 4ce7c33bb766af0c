"""Writes a clip's row as a transcript file: json, srt, vtt or txt. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from voxfleet_api import subtitle_files
from voxfleet_api.digest import canonical_json
from voxfleet_api.kinds.contract_output import OutputFormat
from voxfleet_api.rows import ResultRow
from voxfleet_api.subtitle_cues import Cue, cues


def srt(row: ResultRow) -> bytes:
    return subtitle_files.srt(_cues(row))


def vtt(row: ResultRow) -> bytes:
    return subtitle_files.vtt(_cues(row))


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
