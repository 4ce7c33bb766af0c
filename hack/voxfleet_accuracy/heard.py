"""What a side heard in a take: the shape that the product's rows and mlx-audio's output are brought into. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from voxfleet_accuracy.takes import GivenPath
from voxfleet_agent.engine.upstream_messages import UpstreamClip
from voxfleet_api.rows import ResultRow, TimedText


@dataclass(frozen=True, slots=True)
class TimedWord:
    text: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, slots=True)
class Heard:
    text: str
    words: tuple[TimedWord, ...] | None
    """None: no times came."""
    segments: tuple[TimedWord, ...] | None = None
    failure_class: str | None = None
    """Why there is no text."""
    warnings: tuple[str, ...] = ()
    """The codes of the row's warnings."""
    conversions: tuple[str, ...] = ()


Results = Mapping[tuple[GivenPath | None, str], Heard]
"""By the path (None: mlx-audio's own) and the take's name."""


def heard_by_product(row: ResultRow) -> Heard:
    return Heard(
        text=row.text or "",
        words=_timed(row.words),
        segments=_timed(row.segments),
        failure_class=None if row.error is None else str(row.error.failure_class or row.status),
        warnings=tuple(str(warning.code) for warning in row.warnings),
        conversions=() if row.attestation is None else row.attestation.conversions,
    )


def _timed(texts: Sequence[TimedText] | None) -> tuple[TimedWord, ...] | None:
    if texts is None:
        return None
    return tuple(
        TimedWord(timed.text, timed.start_milliseconds / 1000, timed.end_milliseconds / 1000) for timed in texts
    )


def heard_by_upstream(clip: UpstreamClip) -> Heard:
    words = [word for segment in clip.segments for word in segment.words]
    return Heard(
        text=(clip.text or "").strip(),
        words=tuple(TimedWord(word.word.strip(), word.start, word.end) for word in words),
        segments=tuple(TimedWord(segment.text.strip(), segment.start, segment.end) for segment in clip.segments),
    )
