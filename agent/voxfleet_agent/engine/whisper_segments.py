"""Whisper tells the times of a segment in two ways; says which one is believed. Pure.

It writes when a segment begins and ends as tokens in its text. mlx-audio aligns the words with the audio by the model's
attention, and then gives the segment the times of its words. Where nobody speaks, attention points nowhere in
particular: a sentence before a long silence may be aligned with the middle of the silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from voxfleet_agent.engine.reported_times import seconds
from voxfleet_agent.engine.whisper_progress import TIMESTAMP_MILLISECONDS
from voxfleet_api.time_shares import shares

APART_MILLISECONDS = 500
"""mlx-audio has the same tolerance. It moves the first or the last word of a segment to the written times, but only
where words and written times overlap."""
_SEEK_MILLISECONDS = 10
"""mlx-audio counts frames of the spectrogram up to where it has come."""


def with_written_times(segments: Sequence[object], timestamp_begin: int) -> list[object]:
    """mlx-audio's segments; where all words of one lie apart from the times that the model wrote, they share these.

    `timestamp_begin`: the token of the time 0.
    """
    return [
        _with_written_times(segment, timestamp_begin) if isinstance(segment, Mapping) else segment
        for segment in segments
    ]


def _with_written_times(segment: Mapping[str, object], timestamp_begin: int) -> Mapping[str, object]:
    written, words = _written_milliseconds(segment, timestamp_begin), _words(segment.get("words"))
    texts = [str(word.get("word", "")).strip() for word in words]
    first, last = (seconds(words[0].get("start")), seconds(words[-1].get("end"))) if any(texts) else (None, None)
    if written is None or first is None or last is None:
        return segment
    if first * 1000 <= written[1] + APART_MILLISECONDS and last * 1000 >= written[0] - APART_MILLISECONDS:
        return segment
    shared = [_times(part.start_milliseconds, part.end_milliseconds) for part in shares(texts, *written)]
    moved = [{**word, **times} for word, times in zip(words, shared, strict=True)]
    return {**segment, **_times(*written), "words": moved}


def _written_milliseconds(segment: Mapping[str, object], timestamp_begin: int) -> tuple[int, int] | None:
    """(start, end); None where the model wrote no two times of which the second is later."""
    seek, tokens = segment.get("seek"), segment.get("tokens")
    if not isinstance(seek, int) or not isinstance(tokens, list):
        return None
    stamps = [token - timestamp_begin for token in tokens if isinstance(token, int) and token >= timestamp_begin]
    if not stamps or stamps[0] >= stamps[-1]:
        return None
    begins = seek * _SEEK_MILLISECONDS
    return begins + stamps[0] * TIMESTAMP_MILLISECONDS, begins + stamps[-1] * TIMESTAMP_MILLISECONDS


def _words(listed: object) -> list[Mapping[str, object]]:
    return [word for word in listed if isinstance(word, Mapping)] if isinstance(listed, list) else []


def _times(start_milliseconds: int, end_milliseconds: int) -> Mapping[str, object]:
    return {"start": start_milliseconds / 1000, "end": end_milliseconds / 1000}
