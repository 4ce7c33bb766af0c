"""Turns the output of streaming speech-to-text models into text that only grows. Pure: no MLX."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from voxfleet_agent.engine.transcription_families import Stream


def text_deltas(
    parts: Iterable[object], stream: Stream, decode: Callable[[Sequence[int]], str] | None = None
) -> Iterator[str]:
    """Yields non-empty pieces whose concatenation is the final text, without white space at its ends.

    Pieces pass through as they arrive. From hypotheses, whole words are emitted once two in a row agree on them; a word
    that still changes is held back until it settles, and the last hypothesis emits the rest. Emitted text is never
    revised: if the model changes it after all, as many words as were already emitted are skipped, and the rest follow.
    `decode` turns `.tokens` into text. Raises TypeError for parts of another kind.
    """
    if stream is Stream.NONE:
        raise ValueError("the family does not stream")
    if stream in (Stream.TEXTS, Stream.PIECES):
        return _trimmed(_text(part) for part in parts)
    if stream is Stream.TOKENS:
        if decode is None:
            raise ValueError("a stream of tokens needs a decoder")
        return _agreed_words(decode(_tokens(part)) for part in parts)
    return _agreed_words(_text(part) for part in parts)


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


def _agreed_words(hypotheses: Iterable[str]) -> Iterator[str]:
    emitted: list[str] = []
    previous: list[str] = []
    for hypothesis in hypotheses:
        words = hypothesis.split()
        agreed = 0
        while agreed < min(len(previous), len(words)) and previous[agreed] == words[agreed]:
            agreed += 1
        # The last word of a hypothesis may still be incomplete.
        yield from _new_words(emitted, words[: min(agreed, len(previous) - 1)] if previous else [])
        previous = words
    yield from _new_words(emitted, previous)


def _new_words(emitted: list[str], words: Sequence[str]) -> Iterator[str]:
    """Skips as many words as `emitted` has, yields the rest as one piece, and adds them to `emitted`."""
    new = words[len(emitted) :]
    if new:
        yield (" " if emitted else "") + " ".join(new)
        emitted.extend(new)


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
