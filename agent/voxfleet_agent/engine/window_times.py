"""Joins the transcripts of a clip's windows; times then count from the start of the clip. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_api.rows import TimedText


def join_windows(windows: Sequence[tuple[int, Transcript]], audio_milliseconds: int) -> Transcript:
    """One transcript from (start in milliseconds, transcript) of each window, in order.

    A window ends where the next one starts, and the last one with the audio. Times are cut there, because models count
    in frames or fill a window up, and reach beyond it. The clip has no times where a window has none.
    """
    starts = [start for start, _ in windows]
    ends = [*starts[1:], audio_milliseconds]
    transcripts = [transcript for _, transcript in windows]
    return Transcript(
        text=" ".join(transcript.text for transcript in transcripts if transcript.text),
        segments=_placed(starts, ends, [transcript.segments for transcript in transcripts]),
        words=_placed(starts, ends, [transcript.words for transcript in transcripts]),
        language=next((transcript.language for transcript in transcripts if transcript.language), None),
        token_limit_reached=any(transcript.token_limit_reached for transcript in transcripts),
    )


def _placed(
    starts: Sequence[int], ends: Sequence[int], windows: Sequence[tuple[TimedText, ...] | None]
) -> tuple[TimedText, ...] | None:
    placed: list[TimedText] = []
    for start, end, timed in zip(starts, ends, windows, strict=True):
        if timed is None:
            return None
        placed += [
            TimedText(
                start_milliseconds=min(start + part.start_milliseconds, end),
                end_milliseconds=min(start + part.end_milliseconds, end),
                text=part.text,
            )
            for part in timed
        ]
    return tuple(placed)
