"""Converts the output of mlx-audio's models to transcripts. Pure: no MLX."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from voxfleet_agent.engine.languages import code_of
from voxfleet_agent.engine.reported_times import ReportedText, in_order, seconds, spread
from voxfleet_agent.engine.transcription_families import TranscriptionFamily
from voxfleet_agent.engine.whisper_segments import with_written_times
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.rows import TimedText

_NO_LANGUAGES = ("", "auto", "unknown")


def read_output(output: object, family: TranscriptionFamily, timestamp_begin: int | None = None) -> Transcript:
    """Reads a str, or an object with `.text` and `.segments` or `.sentences` with `.tokens`, times in seconds.

    Segments, sentences, words and tokens are mappings or objects. Drops times that are meaningless for the family, and
    times without a single start; where one is known, all others follow from it (`reported_times.in_order`).
    `timestamp_begin`: Whisper's token of the time 0. Raises TypeError for an output without a text.
    """
    if isinstance(output, str):
        return Transcript(text=output.strip())
    text = getattr(output, "text", None)
    if not isinstance(text, str):
        raise TypeError(f"the model returned {type(output).__name__} without a text")
    text, language = text.strip(), _language(getattr(output, "language", None))
    if family.timestamps is Timestamps.NONE:
        return Transcript(text, language=language)
    sentences = getattr(output, "sentences", None)
    reported = sentences if isinstance(sentences, list) else getattr(output, "segments", None)
    if timestamp_begin is not None and isinstance(reported, list):
        reported = with_written_times(reported, timestamp_begin)
    parts = _segments(reported)
    if family.text_in_segments and parts:
        text = " ".join(part.reported.text for part in parts)
    if not text:
        return Transcript("", (), (), language)
    if all(part.reported.start_seconds is None for part in parts):
        return Transcript(text, language=language)
    # Speakers that a family tells apart may speak at once.
    segments = in_order([part.reported for part in parts], overlapping=family.text_in_segments)
    return Transcript(text, segments, _words(parts, segments), language)


def budget_is_spent(output: object, budget: int) -> bool:
    """Whether the model stopped because it had generated `budget` tokens.

    Whisper has a budget per window: a segment that spent all of it was not continued.
    """
    count = getattr(output, "generation_tokens", 0)
    if isinstance(count, int) and count >= budget:
        return True
    segments = getattr(output, "segments", None)
    tokens = [_field(segment, "tokens") for segment in (segments if isinstance(segments, list) else ())]
    return any(isinstance(generated, list) and len(generated) >= budget for generated in tokens)


def words_of(pieces: Sequence[ReportedText]) -> list[ReportedText]:
    """Joins pieces of words as the model's spaces say: a leading space begins a word, a lone space ends one.

    Scripts that are written without spaces keep their pieces.
    """
    words: list[ReportedText] = []
    open_word = False
    for piece in pieces:
        text = piece.text.strip()
        if not text:
            open_word = False
            continue
        previous = words[-1] if words else None
        if previous is not None and open_word and not piece.text[0].isspace() and _joins(previous.text, text):
            words[-1] = ReportedText(previous.text + text, previous.start_seconds, piece.end_seconds)
        else:
            words.append(ReportedText(text, piece.start_seconds, piece.end_seconds))
        open_word = not piece.text[-1].isspace()
    return words


_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Thai, Lao, Burmese, Khmer, kana and Han."""


def _joins(text: str, piece: str) -> bool:
    first, last = piece[0], text[-1]
    letters = unicodedata.category(first).startswith("L") and unicodedata.category(last)[0] in "LM"
    return not (letters and (_WITHOUT_SPACES.match(first) or _WITHOUT_SPACES.match(last)))


@dataclass(frozen=True, slots=True)
class _Segment:
    reported: ReportedText
    words: list[ReportedText]
    """Empty: the model gave none, or none that could be read."""


def _segments(raw: object) -> list[_Segment]:
    """The segments that have a text. Where a segment's own times are no use, those of its words stand for them."""
    read: list[_Segment] = []
    for segment in raw if isinstance(raw, list) else ():
        text = _field(segment, "text")
        if not isinstance(text, str) or not text.strip():
            continue
        pieces = _pieces(segment)
        whole = len(text.split()) > 1 and not any(" " in piece.text for piece in pieces)
        words = [piece for piece in pieces if piece.text.strip()] if whole else words_of(pieces)
        reported = ReportedText(text.strip(), seconds(_field(segment, "start")), seconds(_field(segment, "end")))
        placed = [word for word in words if word.start_seconds is not None and word.end_seconds is not None]
        if not reported.has_span:
            start, end = (placed[0].start_seconds, placed[-1].end_seconds) if placed else (reported.start_seconds, None)
            reported = ReportedText(reported.text, start, end)
        read.append(_Segment(reported, words))
    return read


def _pieces(segment: object) -> list[ReportedText]:
    """The pieces of a segment's words; none if the text of one cannot be read."""
    listed = _field(segment, "words")
    name = "word"
    if not isinstance(listed, list):
        listed, name = _field(segment, "tokens"), "text"
    pieces: list[ReportedText] = []
    for piece in listed if isinstance(listed, list) else ():
        text = _field(piece, name)
        if not isinstance(text, str):
            return []
        if not text:
            continue
        pieces.append(ReportedText(text, seconds(_field(piece, "start")), seconds(_field(piece, "end"))))
    return pieces


def _words(parts: Sequence[_Segment], segments: Sequence[TimedText]) -> tuple[TimedText, ...] | None:
    """The words of all segments; None when the model gives none. Where one segment has none, its time is spread."""
    if not any(part.words for part in parts):
        return None
    words: list[ReportedText] = []
    for part, segment in zip(parts, segments, strict=True):
        words += part.words or spread(segment)
    return in_order(words)


def _field(part: object, name: str) -> object:
    return part.get(name) if isinstance(part, Mapping) else getattr(part, name, None)


def _language(name: object) -> str | None:
    if isinstance(name, list):  # one per chunk
        name = name[0] if name and all(other == name[0] for other in name) else None
    return code_of(name) if isinstance(name, str) and name not in _NO_LANGUAGES else None


@dataclass(frozen=True, slots=True)
class Transcript:
    """The transcript of one clip or window; times count from its first sample."""

    text: str
    segments: tuple[TimedText, ...] | None = None
    """None: the model gives no times."""
    words: tuple[TimedText, ...] | None = None
    language: str | None = None
    token_limit_reached: bool = False
    """The model stopped because its token budget was spent."""

    token_limit_note: str = ""
    """What bounds the token budget, when a larger one would not help."""

    def marked(self, token_limit_reached: bool, note: str) -> Transcript:
        return replace(self, token_limit_reached=token_limit_reached, token_limit_note=note)
