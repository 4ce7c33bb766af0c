"""Finds text that no audible speech explains: over silence, noise and music, and phrases that repeat too fast. Pure."""

from __future__ import annotations

import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxfleet_agent.engine.speech_detection import FRAME_MILLISECONDS
from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_api.rows import TimedText

LEAST_SPEECH_MILLISECONDS = 100
"""A text needs this much audible speech. Half of what completeness asks of a short word: a detector may miss its
ends."""
MARGIN_MILLISECONDS = 500
"""Added on both sides of a timed text: models place words and segments this inexactly."""
MIN_REPEATS = 4
"""How often in a row a phrase stands that counts as repeated."""
MAX_PHRASE_WORDS = 8
MAX_COMPRESSION_RATIO = 2.4
"""Text that zlib shortens more than this repeats itself: Whisper's own threshold (`compression_ratio_threshold` of
openai/whisper, transcribe.py)."""
MIN_COMPRESSED_LETTERS = 60
"""A shorter text shrinks too little to tell."""
MAX_LETTERS_PER_SECOND = 25
"""More letters than this in a second of speech are not spoken: 250 English words a minute are 20."""
MIN_LETTERS_PER_SECOND = 4
"""Fewer letters than this in a second of speech are suspicious, and no more than that: somebody may speak slowly."""

_KANA = ("\u3040", "\u30ff")
_KANA_LETTERS = 2
_WIDE_LETTERS = 3
"""A character of a script with a character for each syllable counts as the letters that write it in Latin script."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a piece."""

    start_milliseconds: int
    end_milliseconds: int


def unspoken(transcript: Transcript, speech: Mask) -> tuple[Span, ...]:
    """Where the transcript has a text and no speech is audible; the whole piece where none is audible at all.

    `speech`: (F,) bool, one a frame of FRAME_MILLISECONDS. Without times from the model, only a whole piece is told.
    """
    if not transcript.text:
        return ()
    if _speech_milliseconds(speech) < LEAST_SPEECH_MILLISECONDS:
        return (Span(0, len(speech) * FRAME_MILLISECONDS),)
    timed = transcript.words or transcript.segments or ()
    return tuple(
        merged(
            Span(part.start_milliseconds, part.end_milliseconds)
            for part in timed
            if _letters(part.text) and _speech_around(speech, part) < LEAST_SPEECH_MILLISECONDS
        )
    )


def repeated(transcript: Transcript, speech: Mask) -> tuple[Span, ...]:
    """Where the text says a phrase over and over, faster than anybody speaks in the audible speech there.

    What somebody really repeats takes its time, and is not told; nor is what `unspoken` tells.
    """
    return tuple(
        merged(
            Span(part.start_milliseconds, part.end_milliseconds)
            for part in _repetitions(transcript, speech)
            if LEAST_SPEECH_MILLISECONDS
            <= _speech_around(speech, part)
            < _letters(part.text) * 1000 // MAX_LETTERS_PER_SECOND
        )
    )


def sparse(transcript: Transcript, speech: Mask) -> tuple[Span, ...]:
    """Where a text is too short for the speech where it stands: what was taken for speech may be music."""
    parts = transcript.segments or (_whole(transcript, speech),)
    return tuple(
        merged(
            Span(part.start_milliseconds, part.end_milliseconds)
            for part in parts
            if _letters(part.text) * 1000 < MIN_LETTERS_PER_SECOND * _speech_around(speech, part, 0)
        )
    )


def _whole(transcript: Transcript, speech: Mask) -> TimedText:
    return TimedText(start_milliseconds=0, end_milliseconds=len(speech) * FRAME_MILLISECONDS, text=transcript.text)


def _repetitions(transcript: Transcript, speech: Mask) -> Iterator[TimedText]:
    """Texts that repeat a phrase."""
    parts = transcript.segments or (_whole(transcript, speech),)
    units = [(word.lower(), part) for part in transcript.words or parts for word in _words(part.text)]
    yield from (_joined(units[first:last]) for first, last in _repeated_runs([word for word, _ in units]))
    yield from (part for part in parts if _compresses(part.text))


def _repeated_runs(words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """(first, last + 1) of each stretch in which a phrase stands at least MIN_REPEATS times in a row."""
    for length in range(1, MAX_PHRASE_WORDS + 1):
        first = 0
        for position in range(length, len(words) + 1):
            if position < len(words) and words[position] == words[position - length]:
                continue
            if position - first >= length * MIN_REPEATS:
                yield first, position
            first = position - length + 1


def _joined(units: Sequence[tuple[str, TimedText]]) -> TimedText:
    return TimedText(
        start_milliseconds=min(part.start_milliseconds for _, part in units),
        end_milliseconds=max(part.end_milliseconds for _, part in units),
        text=" ".join(word for word, _ in units),
    )


def _compresses(text: str) -> bool:
    content = text.encode()
    return _letters(text) >= MIN_COMPRESSED_LETTERS and len(content) > MAX_COMPRESSION_RATIO * len(
        zlib.compress(content)
    )


def _words(text: str) -> list[str]:
    """Letters, digits, and the marks that many scripts write on or beside them, which `re` calls no part of a word."""
    return text.translate({ord(character): " " for character in set(text) if not _is_written(character)}).split()


def _letters(text: str) -> int:
    """Asks of each character once: a model that repeats itself writes megabytes of a few."""
    return sum(count * _letters_of(character) for character, count in Counter(text).items() if _is_written(character))


def _is_written(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"


def _letters_of(character: str) -> int:
    if character.isascii() or unicodedata.east_asian_width(character) != "W":
        return 1
    return _KANA_LETTERS if _KANA[0] <= character <= _KANA[1] else _WIDE_LETTERS


def _speech_around(speech: Mask, part: TimedText, margin_milliseconds: int = MARGIN_MILLISECONDS) -> int:
    first = max(0, part.start_milliseconds - margin_milliseconds) // FRAME_MILLISECONDS
    last = (part.end_milliseconds + margin_milliseconds) // FRAME_MILLISECONDS
    return _speech_milliseconds(speech[first : last + 1])


def _speech_milliseconds(speech: Mask) -> int:
    return int(speech.sum()) * FRAME_MILLISECONDS


def merged(spans: Iterable[Span]) -> Iterator[Span]:
    """Joins spans that overlap or lie within the margin of each other, in the order of their start."""
    last: Span | None = None
    for span in sorted(spans, key=lambda span: span.start_milliseconds):
        if last is not None and span.start_milliseconds <= last.end_milliseconds + MARGIN_MILLISECONDS:
            last = Span(last.start_milliseconds, max(last.end_milliseconds, span.end_milliseconds))
            continue
        if last is not None:
            yield last
        last = span
    if last is not None:
        yield last
