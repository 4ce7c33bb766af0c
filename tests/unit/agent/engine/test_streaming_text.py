"""Every kind of stream becomes text that only grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.engine.streaming_text import text_deltas
from voxfleet_agent.engine.transcription_families import Stream


@dataclass
class Part:
    """The parts of mlx-audio's StreamingResult that are read."""

    text: str
    tokens: list[int] = field(default_factory=list)
    is_final: bool = False


def parts(*texts: str) -> list[Part]:
    return [Part(text) for text in texts]


@pytest.mark.parametrize(
    ("stream", "streamed", "deltas"),
    [
        # vibevoice_asr, voxtral_realtime: the detokenizer's text, spaces included
        pytest.param(Stream.TEXTS, [" Hello", " wor", "ld", ". "], ["Hello", " wor", "ld", "."], id="texts"),
        # qwen3_asr, glmasr, granite_speech, moss: an empty last one with is_final
        pytest.param(Stream.PIECES, parts("One", " two", ""), ["One", " two"], id="pieces"),
        pytest.param(Stream.PIECES, parts(" ", " a ", " ", "b", "  "), ["a", "  b"], id="white space"),
        pytest.param(Stream.TEXTS, [], [], id="nothing"),
        # nemotron_asr: all of the text so far
        pytest.param(Stream.HYPOTHESES, parts("one", "one two", "one two three"), ["one", " two three"], id="growing"),
        pytest.param(
            Stream.HYPOTHESES,
            parts("one tw", "one twenty", "one twenty five", "one twenty five six"),
            ["one", " twenty", " five six"],
            id="a word that grows is held back",
        ),
        pytest.param(
            Stream.HYPOTHESES,
            parts("one two tree", "one two three four", "one two three four five"),
            ["one two", " three", " four five"],
            id="a word that changes is held back",
        ),
        pytest.param(
            Stream.HYPOTHESES,
            parts("a b c", "a b c", "x y z w"),
            ["a b", " z w"],
            id="what was given out is never taken back",
        ),
        pytest.param(Stream.HYPOTHESES, parts("a b c d", "a b c d", "a b"), ["a b c"], id="a shorter last one"),
        pytest.param(Stream.HYPOTHESES, parts("one two"), ["one two"], id="one hypothesis"),
        pytest.param(Stream.HYPOTHESES, parts("", "", ""), [], id="silence"),
    ],
)
def test_deltas(stream: Stream, streamed: Sequence[object], deltas: list[str]) -> None:
    assert list(text_deltas(streamed, stream)) == deltas


def test_texts_of_a_changing_stream_come_from_its_tokens() -> None:
    """parakeet cuts its text at the length of the previous one, even if that has changed; the tokens are right."""
    words = ["zero", "one", "two", "three", "four"]
    streamed = [Part("one", [1]), Part(" three", [1, 3]), Part(" four", [1, 2, 3, 4]), Part("", [1, 2, 3, 4])]
    deltas = text_deltas(streamed, Stream.TOKENS, lambda tokens: " ".join(words[token] for token in tokens))
    assert list(deltas) == ["one", " two three", " four"]


def test_deltas_come_as_soon_as_they_are_settled() -> None:
    heard = []

    def stream() -> object:
        for text in ("one", "one two", "one two three"):
            heard.append(text)
            yield Part(text)

    deltas = text_deltas(stream(), Stream.HYPOTHESES)  # type: ignore[arg-type] # a generator
    assert next(deltas) == "one"
    assert heard == ["one", "one two", "one two three"]


@given(st.lists(st.text(alphabet="ab  ", max_size=6), max_size=8))
def test_pieces_join_to_the_stripped_text(texts: list[str]) -> None:
    deltas = list(text_deltas(texts, Stream.TEXTS))
    assert "".join(deltas) == "".join(texts).strip() and all(deltas)


@given(st.lists(st.lists(st.sampled_from(["a", "b"]), max_size=5), min_size=1, max_size=6))
def test_text_of_hypotheses_is_the_last_one_where_they_settle(hypotheses: list[list[str]]) -> None:
    texts = [" ".join(words) for words in hypotheses]
    deltas = list(text_deltas(parts(*texts), Stream.HYPOTHESES))
    given_out = "".join(deltas).split()
    assert all(deltas)
    settled = all(words == hypotheses[-1][: len(words)] for words in hypotheses)
    assert not settled or given_out == hypotheses[-1]


@pytest.mark.parametrize(
    ("stream", "part"),
    [(Stream.TEXTS, b"one"), (Stream.PIECES, (7, "logprobs")), (Stream.TOKENS, Part("one", (1,)))],  # type: ignore[arg-type] # wrong on purpose
)
def test_parts_of_another_kind_are_refused(stream: Stream, part: object) -> None:
    with pytest.raises(TypeError, match="the model streamed"):
        list(text_deltas([part], stream, str))


def test_a_family_that_does_not_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="does not stream"):
        next(text_deltas([], Stream.NONE))
