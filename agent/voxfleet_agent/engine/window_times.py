"""Joins the transcripts of a clip's windows; times then count from the start of the clip. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from voxfleet_agent.engine.reported_times import in_order, spread
from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_api.rows import TimedText

Times = tuple[TimedText, ...]


def join_windows(windows: Sequence[tuple[int, Transcript]], audio_milliseconds: int) -> Transcript:
    """One transcript from (start in milliseconds, transcript) of each window, in order.

    A window ends where the next one starts, and the last one with the audio. Times are cut there, because models count
    in frames or fill a window up, and reach beyond it. Where other windows have times, a text without any takes its
    whole window, and words without any share the time of their segments.
    """
    spans = list(
        zip((start for start, _ in windows), [*(start for start, _ in windows[1:]), audio_milliseconds], strict=True)
    )
    transcripts = [transcript for _, transcript in windows]
    wholes = [_whole(span, transcript.text) for span, transcript in zip(spans, transcripts, strict=True)]
    segments = [placed(span, transcript.segments) for span, transcript in zip(spans, transcripts, strict=True)]
    words = [placed(span, transcript.words) for span, transcript in zip(spans, transcripts, strict=True)]
    shared = [_shared(whole if timed is None else timed) for timed, whole in zip(segments, wholes, strict=True)]
    return Transcript(
        text=" ".join(transcript.text for transcript in transcripts if transcript.text),
        segments=_joined(segments, wholes),
        words=_joined(words, shared),
        language=next((transcript.language for transcript in transcripts if transcript.language), None),
        token_limit_reached=any(transcript.token_limit_reached for transcript in transcripts),
    )


def _joined(windows: Sequence[Times | None], stand_ins: Sequence[Times]) -> Times | None:
    """The times of all windows; None where no window has any and one lacks them."""
    if None in windows and not any(windows):
        return None
    chosen = (stand_in if timed is None else timed for timed, stand_in in zip(windows, stand_ins, strict=True))
    return tuple(part for timed in chosen for part in timed)


def placed(span: tuple[int, int], timed: Times | None) -> Times | None:
    """The times of a window from `span[0]` to `span[1]` of a clip, counted from the start of the clip."""
    start, end = span
    return timed and tuple(
        TimedText(
            start_milliseconds=min(start + part.start_milliseconds, end),
            end_milliseconds=min(start + part.end_milliseconds, end),
            text=part.text,
        )
        for part in timed
    )


def _whole(span: tuple[int, int], text: str) -> Times:
    return (TimedText(start_milliseconds=span[0], end_milliseconds=span[1], text=text),) if text else ()


def _shared(segments: Times) -> Times:
    return in_order([word for segment in segments for word in spread(segment)])
