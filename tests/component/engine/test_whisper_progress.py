"""How far Whisper has come in a clip, told while mlx-audio's own loop goes through it with recorded answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import pytest
from mlx_audio.stt.models.whisper.decoding import DecodingResult  # type: ignore[import-untyped] # it ships no types
from mlx_audio.stt.models.whisper.whisper import Model, ModelDimensions  # type: ignore[import-untyped]

from voxfleet_agent.engine.whisper_progress import WhisperProgress, finished_milliseconds

RATE_HZ = 16_000
END, BEGIN = 999, 1000
"""Tokens: the end of the text, and the time 0. Lower ones are words."""


def at(seconds: float) -> int:
    return BEGIN + round(seconds * 50)


class Tokenizer:
    eot, timestamp_begin = END, BEGIN

    def decode(self, tokens: Sequence[int]) -> str:
        return " ".join(map(str, tokens))


def answer(*tokens: int, silent: bool = False, bad: bool = False) -> DecodingResult:
    return DecodingResult(
        audio_features=mx.zeros(1),
        language="en",
        tokens=list(tokens),
        avg_logprob=-2.0 if silent or bad else -0.1,
        no_speech_prob=0.9 if silent else 0.0,
        temperature=0.0,
        compression_ratio=1.0,
    )


def model_that_answers(answers: Sequence[DecodingResult]) -> Any:
    dims = ModelDimensions.from_dict(
        {
            "n_mels": 80, "n_audio_ctx": 1500, "n_audio_state": 8, "n_audio_head": 1, "n_audio_layer": 1,
            "n_vocab": 3000, "n_text_ctx": 448, "n_text_state": 8, "n_text_head": 1, "n_text_layer": 1,
        }
    )  # fmt: skip
    model, left = Model(dims, mx.float32), iter(answers)
    model.get_tokenizer = lambda **settings: Tokenizer()
    model.decode = lambda segment, options: next(left)
    return model


def test_the_progress_is_where_the_next_segment_begins() -> None:
    """The starts of segments are mlx-audio's own."""
    answers = [
        answer(at(0), 5, at(4), at(4), 6, at(25), at(25), 7),  # 25 s; the last phrase is heard again
        answer(at(0), 5, at(28)),  # one timestamp at the end: all 30 s
        answer(silent=True),
        answer(at(0), 5, at(2), at(2), 6, at(4), at(4), silent=True),  # what it writes of silence is dropped
        answer(at(0), 5, at(3), at(3), bad=True),  # tried again, hotter
        answer(at(0), 5, at(20), at(20)),
        answer(at(0), 5, at(9), at(9), 6),
        answer(5, 6),
    ]
    model = model_that_answers(answers)
    told: list[int] = []
    with WhisperProgress(model).told(told.append):
        output = model.generate(mx.zeros(RATE_HZ * 170), language="en")
    assert told == [25_000, 55_000, 85_000, 115_000, 118_000, 135_000, 144_000, 174_000]
    starts = {segment["seek"] * 10 for segment in output.segments}
    assert starts == {0, 25_000, 115_000, 135_000, 144_000} and starts - {0} <= set(told)


def test_each_clip_begins_anew_and_nobody_is_told_of_a_clip_that_nobody_asked_about() -> None:
    model = model_that_answers([answer(5), answer(6), answer(7)])
    progress = WhisperProgress(model)
    first, last = list[int](), list[int]()
    with progress.told(first.append):
        model.generate(mx.zeros(RATE_HZ), language="en")
    model.generate(mx.zeros(RATE_HZ), language="en")
    with progress.told(last.append):
        model.generate(mx.zeros(RATE_HZ), language="en")
    assert first == last == [30_000]


@pytest.mark.parametrize(
    ("tokens", "milliseconds"),
    [((), 30_000), ((5,), 30_000), ((at(0), 5), 30_000), ((at(0), at(0)), 0), ((at(1), at(2), 5, at(9)), 30_000)],
)
def test_what_is_finished_of_a_segment(tokens: tuple[int, ...], milliseconds: int) -> None:
    assert finished_milliseconds(tokens, BEGIN) == milliseconds
