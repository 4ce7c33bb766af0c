"""Compares what the model wrote of a piece with what is heard in it: text that is missing, and text that nobody spoke.

The detector that has listened to every piece is cheap. Only where it contradicts the text does the costly one decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.engine.unspoken_text import Span, merged, repeated, sparse, unspoken
from voxfleet_agent.worker.decode_thread import AudibleSpeech, Mask, Piece, Samples
from voxfleet_api.clip_warnings import RowWarning, WarningCode
from voxfleet_api.kinds.contract_limits import Completeness, UnspokenText

Shortfall = Callable[[Transcript, Mask, int], str | None]
"""The type of engine.completeness.shortfall."""
TOLD_SPANS = 3
"""The most stretches that a message names; it counts the others."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is wrong with the transcript of one piece; times count from the start of the piece."""

    short: str | None = None
    """Why it counts as cut short."""
    unspoken: tuple[Span, ...] = ()
    """Where it has a text and no speech is audible."""
    repeated: tuple[Span, ...] = ()
    """Where it repeats a phrase faster than anybody speaks."""


class TranscriptJudge:
    """Judges the pieces of one contract; keeps no state between them."""

    def __init__(
        self, shortfall: Shortfall, second_opinion: AudibleSpeech, completeness: Completeness, sample_rate_hz: int
    ) -> None:
        """`second_opinion`: the costly detector."""
        self._shortfall = shortfall
        self._second_opinion = second_opinion
        self._min_coverage_percent = completeness.min_coverage_percent
        self.quarantines = completeness.unspoken_text is UnspokenText.QUARANTINE
        """Whether text that nobody spoke fails its clip."""
        self._sample_rate_hz = sample_rate_hz

    def judge(self, transcript: Transcript, piece: Piece, samples: Samples) -> Judgement:
        """`samples`: (N,), the piece as the model heard it."""
        judgement = self._listened(transcript, piece, samples)
        if judgement.short is None or piece.quieted is None:
            return judgement
        return replace(judgement, short=f"{judgement.short}; {piece.quieted}")

    def _listened(self, transcript: Transcript, piece: Piece, samples: Samples) -> Judgement:
        first = self._compare(transcript, piece.speech, piece.speech)
        contradicted = first != Judgement() or sparse(transcript, piece.speech)
        if transcript.token_limit_reached or not contradicted:
            return first
        voiced = self._second_opinion(samples, self._sample_rate_hz)
        if piece.quieted is not None:
            # Heard in the clip's channels alone, which only the first detector was given.
            return self._compare(transcript, piece.speech, piece.speech | voiced)
        return self._compare(transcript, piece.speech & voiced, voiced)

    def _compare(self, transcript: Transcript, missing: Mask, heard: Mask) -> Judgement:
        """`missing`: speech that a text must cover; `heard`: speech that may explain a text."""
        return Judgement(
            self._shortfall(transcript, missing, self._min_coverage_percent),
            unspoken(transcript, heard),
            repeated(transcript, heard),
        )


def shifted_spans(spans: Sequence[Span], start_milliseconds: int) -> list[Span]:
    """Spans of a piece, counted from the start of its clip. Pure."""
    return [
        Span(start_milliseconds + span.start_milliseconds, start_milliseconds + span.end_milliseconds) for span in spans
    ]


def text_warnings(
    unspoken_spans: Sequence[Span], repeated_spans: Sequence[Span], whole_milliseconds: int
) -> tuple[RowWarning, ...]:
    """The warnings of a clip for its text that nobody spoke; `spans` count from its start. Pure."""
    warnings: list[RowWarning] = []
    if unspoken_spans:
        message = f"no speech is audible in {_where(unspoken_spans, whole_milliseconds)}, yet the model wrote a text"
        warnings.append(_warning(WarningCode.NO_AUDIBLE_SPEECH, message))
    if repeated_spans:
        message = (
            f"the text repeats a phrase faster than anybody speaks in {_where(repeated_spans, whole_milliseconds)}"
        )
        warnings.append(_warning(WarningCode.REPEATED_TEXT, message))
    return tuple(warnings)


def _warning(code: WarningCode, message: str) -> RowWarning:
    return RowWarning(code=code, message=f"{message}; read it before you use it")


def _where(spans: Sequence[Span], whole_milliseconds: int) -> str:
    ordered = list(merged(spans))
    if len(ordered) == 1 and ordered[0].start_milliseconds == 0 and ordered[0].end_milliseconds >= whole_milliseconds:
        return "the clip"
    told = ", ".join(
        f"{span.start_milliseconds / 1000:.1f} to {min(span.end_milliseconds, whole_milliseconds) / 1000:.1f} s"
        for span in ordered[:TOLD_SPANS]
    )
    others = len(ordered) - TOLD_SPANS
    return f"{told} and {others} more stretches" if others > 0 else told
