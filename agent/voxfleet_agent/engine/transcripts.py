"""Converts the output of mlx-audio's models to transcripts. Pure: no MLX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from voxfleet_agent.engine.transcription_families import TranscriptionFamily
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.rows import TimedText


def read_output(output: object, family: TranscriptionFamily) -> Transcript:
    """Reads a str, or an object with `.text` and `.segments` (dicts) or `.sentences` with `.tokens`, times in seconds.

    Drops times that are meaningless for the family. Raises TypeError for anything else.
    """
    if isinstance(output, str):
        return Transcript(text=output.strip())
    text = getattr(output, "text", None)
    if not isinstance(text, str):
        raise TypeError(f"the model returned {type(output).__name__} without a text")
    language = _language(getattr(output, "language", None))
    if family.timestamps is Timestamps.NONE:
        return Transcript(text.strip(), language=language)
    sentences = getattr(output, "sentences", None)
    if isinstance(sentences, list):
        segments, words = _read_sentences(sentences)
        return Transcript(text.strip(), segments, words, language)
    raw = getattr(output, "segments", None)
    timed = _read_segments(raw) if isinstance(raw, list) else None
    if timed is None:
        return Transcript(text.strip(), language=language)
    if family.text_in_segments:
        text = " ".join(segment.text for segment in timed)
    return Transcript(text.strip(), timed, _read_words(raw), language)


def budget_is_spent(output: object, budget: int) -> bool:
    """Whether the model stopped because it had generated `budget` tokens.

    Whisper has a budget per window: a segment that spent all of it was not continued.
    """
    count = getattr(output, "generation_tokens", 0)
    if isinstance(count, int) and count >= budget:
        return True
    segments = getattr(output, "segments", None)
    tokens = [segment.get("tokens") for segment in segments or () if isinstance(segment, Mapping)]
    return any(isinstance(generated, list) and len(generated) >= budget for generated in tokens)


def words_of(pieces: Sequence[tuple[str, float, float]]) -> tuple[TimedText, ...]:
    """Joins pieces of words, (text, start, end) in seconds: a leading space begins a word, a lone space ends one."""
    words: list[TimedText] = []
    text, start, end = "", 0.0, 0.0
    for piece, piece_start, piece_end in pieces:
        if piece[:1].isspace() and text:
            words.append(timed_text(text, start, end))
            text = ""
        if not piece.strip():
            continue
        if not text:
            start = piece_start
        text, end = text + piece, piece_end
    if text:
        words.append(timed_text(text, start, end))
    return tuple(words)


def timed_text(text: str, start_seconds: float, end_seconds: float) -> TimedText:
    """Rounds to milliseconds; an end before its start is set to the start."""
    start = max(0, round(start_seconds * 1000))
    end = max(start, round(end_seconds * 1000))
    return TimedText(start_milliseconds=start, end_milliseconds=end, text=text.strip())


def _read_sentences(sentences: Sequence[object]) -> tuple[tuple[TimedText, ...], tuple[TimedText, ...]]:
    segments: list[TimedText] = []
    pieces: list[tuple[str, float, float]] = []
    for sentence in sentences:
        segments.append(_timed_object(sentence))
        for token in getattr(sentence, "tokens", ()):
            pieces.append((str(token.text), float(token.start), float(token.end)))
    return tuple(segment for segment in segments if segment.text), words_of(pieces)


def _timed_object(part: object) -> TimedText:
    text, start, end = (getattr(part, name, None) for name in ("text", "start", "end"))
    if not isinstance(text, str) or not isinstance(start, int | float) or not isinstance(end, int | float):
        raise TypeError(f"the model returned {type(part).__name__} without text, start and end")
    return timed_text(text, start, end)


def _read_segments(segments: Sequence[object]) -> tuple[TimedText, ...] | None:
    read: list[TimedText] = []
    for segment in segments:
        if not isinstance(segment, Mapping):
            return None
        text = segment.get("text")
        if not isinstance(text, str) or not text.strip():
            continue
        start, end = segment.get("start"), segment.get("end")
        if not isinstance(start, int | float) or not isinstance(end, int | float) or end <= start:
            return None
        read.append(timed_text(text, start, end))
    return tuple(read)


def _read_words(segments: object) -> tuple[TimedText, ...] | None:
    read: list[TimedText] = []
    for segment in segments if isinstance(segments, list) else ():
        words = segment.get("words") if isinstance(segment, Mapping) else None
        if not isinstance(words, list):
            return None
        for word in words:
            read.append(timed_text(str(word["word"]), float(word["start"]), float(word["end"])))
    return tuple(read)


def _language(name: object) -> str | None:
    if isinstance(name, list):  # one per chunk
        name = name[0] if name and all(other == name[0] for other in name) else None
    return name if isinstance(name, str) and name and name != "unknown" else None


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
