"""Decides whether a transcript covers all the speech of its clip. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from voxfleet_agent.engine.speech_detection import FRAME_MILLISECONDS
from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_api.rows import TimedText

MIN_SPEECH_MILLISECONDS = 200
"""Less speech than a short word proves nothing: a click or a breath can look like it."""
MARGIN_MILLISECONDS = 200
"""Added on both sides of every timed text: models place a word by a spike somewhere inside it."""
WORD_MILLISECONDS = 520
"""From its start, a text covers at least this much of speech without a pause: a spike does not mark a word's end."""
PAUSE_MILLISECONDS = 100
BRIDGE_MILLISECONDS = 800
"""A gap between two texts up to this length counts as covered; an omitted phrase is longer."""

# With these numbers, none of 396 correct transcripts of random clips of 2 to 6 words is flagged. When the same
# transcripts are cut to their first half, 371 of them are flagged; the others are clips of two or three short words,
# where half of the text takes most of the time.


def shortfall(transcript: Transcript, speech: npt.NDArray[np.bool_], min_coverage_percent: int) -> str | None:
    """Why the transcript counts as cut short, or None.

    `speech`: (F,), the result of `speech_detection.audible_speech` for the model's input. Without times from the model,
    coverage is not checked.
    """
    if transcript.token_limit_reached:
        return f"the model stopped at its token limit{transcript.token_limit_note}"
    timed = transcript.words or transcript.segments
    checks_coverage = timed is not None and min_coverage_percent > 0
    has_words = _has_words(transcript.text)
    if has_words and not checks_coverage:
        return None
    speech_milliseconds = int(speech.sum()) * FRAME_MILLISECONDS
    if speech_milliseconds < MIN_SPEECH_MILLISECONDS:
        return None
    if not has_words:
        return f"the transcript is empty where {speech_milliseconds / 1000:.1f} s of speech are audible"
    if timed is None:
        return None
    covered_milliseconds = speech_milliseconds - int(uncovered(transcript, speech).sum()) * FRAME_MILLISECONDS
    # One uncovered frame is tolerated, because texts and frames do not begin together.
    if (covered_milliseconds + FRAME_MILLISECONDS) * 100 < speech_milliseconds * min_coverage_percent:
        return (
            f"the transcript's times cover {covered_milliseconds / 1000:.2f} s of {speech_milliseconds / 1000:.2f} s of"
            f" audible speech; the contract asks for {min_coverage_percent} %"
        )
    return None


def uncovered(transcript: Transcript, speech: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(F,): the audible speech that the transcript's times do not cover; all of it where it has no words."""
    if not _has_words(transcript.text):
        return speech
    timed = transcript.words or transcript.segments or ()
    return speech & ~_covered([part for part in timed if _has_words(part.text)], speech)


def _has_words(text: str) -> bool:
    """Some models write dots instead of nothing."""
    return any(character.isalnum() for character in text)


def _covered(timed: Sequence[TimedText], speech: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    covered = np.zeros(len(speech), dtype=bool)
    reached: int | None = None
    for part in sorted(timed, key=lambda part: part.start_milliseconds):
        start = part.start_milliseconds - MARGIN_MILLISECONDS
        if reached is not None and part.start_milliseconds - reached <= BRIDGE_MILLISECONDS:
            start = min(start, reached)
        reached = max(part.end_milliseconds, reached or 0)
        covered[max(0, start // FRAME_MILLISECONDS) : _last_frame(part, speech) + 1] = True
    return covered


def _last_frame(part: TimedText, speech: npt.NDArray[np.bool_]) -> int:
    frame, quiet = part.end_milliseconds // FRAME_MILLISECONDS, 0
    limit = min((part.start_milliseconds + WORD_MILLISECONDS) // FRAME_MILLISECONDS, len(speech))
    while frame < limit and quiet * FRAME_MILLISECONDS <= PAUSE_MILLISECONDS:
        quiet = 0 if speech[frame] else quiet + 1
        frame += 1
    return max(frame, (part.end_milliseconds + MARGIN_MILLISECONDS) // FRAME_MILLISECONDS)
