"""One file a clip: json, srt, vtt or txt, from its row. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from voxfleet_api.digest import canonical_json
from voxfleet_api.kinds.contract_output import OutputFormat
from voxfleet_api.results import ResultRow, TimedText


@dataclass(frozen=True, slots=True)
class Cue:
    """A line of subtitles; `end_milliseconds` is always greater than `start_milliseconds`."""

    start_milliseconds: int
    end_milliseconds: int
    text: str
    """One line, not empty."""


def cues(segments: Iterable[TimedText]) -> list[Cue]:
    """Segments that have words, in order: none is empty, none begins before the one above it ends."""
    found: list[Cue] = []
    previous_end = 0
    for segment in sorted(segments, key=lambda segment: (segment.start_milliseconds, segment.end_milliseconds)):
        text = " ".join(segment.text.replace("\0", "\N{REPLACEMENT CHARACTER}").split())
        if text:
            start = max(segment.start_milliseconds, previous_end)
            previous_end = max(segment.end_milliseconds, start + 1)
            found.append(Cue(start, previous_end, text))
    return found


def srt(row: ResultRow) -> bytes:
    """SubRip: numbered from 1, a comma before the milliseconds, one empty line after each cue.

    It has no escapes; an arrow, which would look like a line of times, loses a dash.
    """
    blocks = [
        f"{number}\n{_clock(cue.start_milliseconds, ',')} --> {_clock(cue.end_milliseconds, ',')}\n"
        f"{cue.text.replace('-->', '->')}\n\n"
        for number, cue in enumerate(_cues(row), start=1)
    ]
    return "".join(blocks).encode()


def vtt(row: ResultRow) -> bytes:
    """WebVTT (W3C): the signature line, then cues whose text is escaped, so that no word is taken for a tag."""
    blocks = ["WEBVTT\n"] + [
        f"\n{_clock(cue.start_milliseconds, '.')} --> {_clock(cue.end_milliseconds, '.')}\n{_escaped(cue.text)}\n"
        for cue in _cues(row)
    ]
    return "".join(blocks).encode()


def txt(row: ResultRow) -> bytes:
    """The text and a line feed; nothing at all for an empty text."""
    text = (row.text or "").strip()
    return f"{text}\n".encode() if text else b""


def json(row: ResultRow) -> bytes:
    """What the row says of the speech, as one object; times in milliseconds."""
    wanted = {"index", "custom_id", "text", "language", "audio_milliseconds", "segments", "words"}
    return canonical_json(row.model_dump(mode="json", exclude_none=True, include=wanted)) + b"\n"


WRITERS: Mapping[OutputFormat, Callable[[ResultRow], bytes]] = {
    OutputFormat.JSON: json,
    OutputFormat.SRT: srt,
    OutputFormat.VTT: vtt,
    OutputFormat.TXT: txt,
}
"""jsonl is not among them: that is results.jsonl itself."""


def transcript_name(index: int, form: OutputFormat) -> str:
    """Below the job's folder."""
    return f"transcripts/{index:06d}.{form.value}"


def _cues(row: ResultRow) -> list[Cue]:
    return cues(row.segments or row.words or ())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(milliseconds: int, point: str) -> str:
    seconds, thousandths = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{point}{thousandths:03d}"
