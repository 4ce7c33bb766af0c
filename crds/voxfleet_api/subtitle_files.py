"""Writes subtitles as SubRip and WebVTT. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from voxfleet_api.subtitle_cues import Cue

_ARROW = re.compile(r"-{2,}>")


def srt(cues: Iterable[Cue]) -> bytes:
    """SubRip: cues numbered from 1, a comma before the milliseconds, one empty line after each cue.

    SubRip has no escapes: `<` and `&` stand for themselves. An arrow in the text, which would look like a line of
    times, keeps one dash.
    """
    blocks = [
        f"{number}\n{_cue_time(cue.start_milliseconds, ',')} --> {_cue_time(cue.end_milliseconds, ',')}\n"
        f"{_ARROW.sub('->', cue.text)}\n\n"
        for number, cue in enumerate(cues, start=1)
    ]
    return "".join(blocks).encode()


def vtt(cues: Iterable[Cue]) -> bytes:
    """WebVTT (W3C): the signature line, then cues. Their text is escaped, so that nothing looks like a tag or arrow."""
    blocks = ["WEBVTT\n"] + [
        f"\n{_cue_time(cue.start_milliseconds, '.')} --> {_cue_time(cue.end_milliseconds, '.')}\n{_escaped(cue.text)}\n"
        for cue in cues
    ]
    return "".join(blocks).encode()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cue_time(milliseconds: int, separator: str) -> str:
    seconds, thousandths = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{separator}{thousandths:03d}"
