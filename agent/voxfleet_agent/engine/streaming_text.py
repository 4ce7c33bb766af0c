"""Turns what streaming speech-to-text models yield into text that only ever grows. Pure: no MLX."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from voxfleet_agent.engine.transcription_families import Stream


def text_deltas(
    parts: Iterable[object], stream: Stream, decode: Callable[[Sequence[int]], str] | None = None
) -> Iterator[str]:
    """Non-empty pieces whose concatenation is the final text, without white space at its ends.

    Pieces pass as they come. Of hypotheses, whole words are given out once two in a row agree on them; a word that
    changes meanwhile is held back until the model settles, the rest follows with the last one. Text that was given out
    is never taken back: should the model change it after all, what it says after as many words follows.
    `decode` makes a text of `.tokens`. Raises TypeError for parts that are not of the kind.
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
    """Holds white space back until text follows it."""
    begun, held = False, ""
    for piece in pieces:
        text = held + piece
        kept = text.rstrip()
        held = text[len(kept) :]
        if not begun:
            kept = kept.lstrip()
        if kept:
            begun = True
            yield kept
        elif not begun:
            held = ""


def _agreed(hypotheses: Iterable[str]) -> Iterator[str]:
    given: list[str] = []
    before: list[str] = []
    for hypothesis in hypotheses:
        words = hypothesis.split()
        agreed = 0
        while agreed < min(len(before), len(words)) and before[agreed] == words[agreed]:
            agreed += 1
        # The last word of a hypothesis may still grow.
        yield from _next(given, words[: min(agreed, len(before) - 1)] if before else [])
        before = words
    yield from _next(given, before)


def _next(given: list[str], words: Sequence[str]) -> Iterator[str]:
    """What follows after as many words as were given out; notes it as given."""
    new = words[len(given) :]
    if new:
        yield (" " if given else "") + " ".join(new)
        given.extend(new)


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
