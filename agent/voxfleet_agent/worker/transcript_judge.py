"""Compares what the model wrote of a piece with what is heard in it: text that is missing, and text that nobody spoke.

The detector that has listened to every piece is cheap. Only the stretches in which it contradicts the text are heard by
the costly one, so its time goes with the doubt, not with the length of the piece.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from voxfleet_agent.engine.completeness import uncovered
from voxfleet_agent.engine.speech_detection import FRAME_MILLISECONDS
from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.engine.unspoken_text import Span, merged, repeated, sparse, unspoken
from voxfleet_agent.worker.decode_thread import AudibleSpeech, Mask, Samples
from voxfleet_agent.worker.second_opinion import SecondOpinion
from voxfleet_api.clip_warnings import RowWarning, WarningCode
from voxfleet_api.kinds.contract_limits import Completeness, UnspokenText

Shortfall = Callable[[Transcript, Mask, int], str | None]
"""The type of engine.completeness.shortfall."""
TOLD_SPANS = 3
"""The most stretches that a message names; it counts the others."""


class JudgedAudio(Protocol):
    """A piece of a clip, or a turn of a session."""

    @property
    def speech(self) -> Mask: ...

    @property
    def quieted(self) -> str | None: ...


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

    def judge(
        self, transcript: Transcript, piece: JudgedAudio, samples: Samples, listened: Callable[[], None] = lambda: None
    ) -> Judgement:
        """`samples`: (N,), the piece as the model heard it.

        `listened` is called while the costly detector works, after each stretch that it was asked about.
        """
        judgement = self._listened(transcript, piece, samples, listened)
        if judgement.short is None or piece.quieted is None:
            return judgement
        return replace(judgement, short=f"{judgement.short}; {piece.quieted}")

    def _listened(
        self, transcript: Transcript, piece: JudgedAudio, samples: Samples, listened: Callable[[], None]
    ) -> Judgement:
        missing = heard = piece.speech
        judgement = self._compare(transcript, missing, heard)
        if transcript.token_limit_reached:
            return judgement
        opinion = SecondOpinion(self._second_opinion, samples, self._sample_rate_hz, piece.speech, listened)
        while opinion.ask(self._doubtful(transcript, judgement, piece, missing)):
            if piece.quieted is None:
                heard, missing = opinion.heard, piece.speech & opinion.heard
            else:
                # What was lost is heard in the clip's channels alone, which only the first detector was given.
                heard = piece.speech | opinion.heard
            judgement = self._compare(transcript, missing, heard)
        return judgement

    def _doubtful(self, transcript: Transcript, judgement: Judgement, piece: JudgedAudio, missing: Mask) -> Mask:
        """(F,): the frames on which the judgement rests, and those of a text that is too short for its speech."""
        frames = len(missing)
        doubtful = _within(judgement.repeated, frames)
        if judgement.unspoken:
            timed = transcript.words or transcript.segments
            texts = [Span(part.start_milliseconds, part.end_milliseconds) for part in timed or ()]
            doubtful |= _within(judgement.unspoken, frames) & (_within(texts, frames) if texts else True)
        if piece.quieted is None:
            doubtful |= _within(sparse(transcript, missing), frames) & missing
            if judgement.short is not None:
                doubtful |= uncovered(transcript, missing)
        return doubtful

    def _compare(self, transcript: Transcript, missing: Mask, heard: Mask) -> Judgement:
        """`missing`: speech that a text must cover; `heard`: speech that may explain a text."""
        return Judgement(
            self._shortfall(transcript, missing, self._min_coverage_percent),
            unspoken(transcript, heard),
            repeated(transcript, heard),
        )


def _within(spans: Sequence[Span], frames: int) -> Mask:
    """(frames,): the frames of the spans; of a span behind the last frame, that one."""
    found = np.zeros(frames, np.bool_)
    for span in spans:
        first = max(0, min(span.start_milliseconds // FRAME_MILLISECONDS, frames - 1))
        found[first : span.end_milliseconds // FRAME_MILLISECONDS + 1] = True
    return found


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
