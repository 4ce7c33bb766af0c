"""Turns the output of streaming speech-to-text models into text that only grows. Pure: no MLX."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from voxfleet_agent.engine.agreed_text import AgreedText
from voxfleet_agent.engine.transcription_families import Stream


def text_deltas(
    parts: Iterable[object], stream: Stream, decode: Callable[[Sequence[int]], str] | None = None
) -> Iterator[str]:
    """Yields non-empty pieces whose concatenation is the final text, without white space at its ends.

    Pieces pass through as they arrive. From hypotheses, words are emitted as `AgreedText` says, and the last one is the
    final text. Emitted text is never revised.
    `decode` turns `.tokens` into text. Raises TypeError for parts of another kind.
    """
    if stream is Stream.NONE:
        raise ValueError("the family does not stream")
    if stream in (Stream.TEXTS, Stream.PIECES):
        return _trimmed(_text(part) for part in parts)
    if stream is Stream.TOKENS:
        if decode is None:
            raise ValueError("a stream of tokens needs a decoder")
        return _agreed(decode(_tokens(part)) for part in parts)
    return _agreed(_text(part) for part in parts)


def _trimmed(pieces: Iterable[str]) -> Iterator[str]:
    """Strips leading white space, and holds back other white space until text follows."""
    begun, spaces = False, ""
    for piece in pieces:
        text = spaces + piece
        kept = text.rstrip()
        spaces = text[len(kept) :]
        if not begun:
            kept = kept.lstrip()
        if kept:
            begun = True
            yield kept
        elif not begun:
            spaces = ""


def _agreed(hypotheses: Iterable[str]) -> Iterator[str]:
    agreed, last = AgreedText(), ""
    for last in hypotheses:
        if delta := agreed.update(last):
            yield delta
    if delta := agreed.finish(last):
        yield delta


def _text(part: object) -> str:
    text = part if isinstance(part, str) else getattr(part, "text", None)
    if not isinstance(text, str):
        raise TypeError(f"the model streamed {type(part).__name__} without a text")
    return text


def _tokens(part: object) -> Sequence[int]:
    tokens = getattr(part, "tokens", None)
    if not isinstance(tokens, list):
        raise TypeError(f"the model streamed {type(part).__name__} without tokens")
    return tokens
