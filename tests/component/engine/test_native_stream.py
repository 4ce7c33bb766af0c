"""A turn that a model with sessions of its own hears as it is spoken; with random weights the text means nothing."""

from __future__ import annotations

import importlib

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map
from mlx_audio.stt.models.nemotron_asr import config as nemotron  # type: ignore[import-untyped] # it ships no types
from mlx_audio.stt.models.nemotron_asr.nemotron_asr import Model  # type: ignore[import-untyped]

from voxfleet_agent.engine.native_stream import NativeStream

VOCABULARY = ["▁one", "▁two", "▁three", "s", "▁four"]
NOISE = np.random.default_rng(3).normal(0, 0.2, 5 * 16_000).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> Model:
    mx.random.seed(5)
    size = len(VOCABULARY)
    made = Model(
        nemotron.NemotronASRConfig(
            preprocessor=nemotron.PreprocessArgs(features=80),
            encoder=nemotron.ConformerArgs(
                feat_in=80, n_layers=1, d_model=32, n_heads=2, subsampling_conv_channels=8, att_context_size=[[8, 1]]
            ),
            prompt=nemotron.PromptArgs(num_prompts=4, prompt_hidden=32, prompt_dictionary={"auto": 0}),
            decoder=nemotron.PredictArgs(pred_hidden=16, pred_rnn_layers=1, vocab_size=size),
            joint=nemotron.JointArgs(joint_hidden=16, encoder_hidden=32, pred_hidden=16, num_classes=size),
            vocabulary=VOCABULARY,
            default_att_context_size=[8, 1],
            max_symbols=2,
        )
    )
    made.update(tree_map(lambda array: array + 0.3 * mx.random.normal(array.shape), made.parameters()))
    return made


def heard(model: Model, piece_frames: int) -> tuple[str, int]:
    """The text of the noise that comes in pieces, and how many texts grew into it."""
    stream = NativeStream(model.create_streaming_session())
    texts = [""]

    def step() -> None:
        stream.step()
        assert stream.text.startswith(texts[-1])
        texts.append(stream.text)

    for start in range(0, len(NOISE), piece_frames):
        stream.feed(NOISE[start : start + piece_frames])
        while not stream.idle:
            step()
    stream.close()
    while not stream.done:
        step()
    assert stream.idle
    return stream.text, len(set(texts))


def test_a_turn_has_one_text_however_it_is_cut_and_tells_it_as_it_grows(model: Model) -> None:
    text, growths = heard(model, 1_600)
    assert growths > 3 and set(text.replace(" ", "")) <= set("".join(VOCABULARY))
    assert heard(model, 16_000)[0] == heard(model, 777)[0] == text


def test_two_turns_at_once_are_heard_as_each_alone(model: Model) -> None:
    text, _ = heard(model, 16_000)
    streams = [NativeStream(model.create_streaming_session()) for _ in range(2)]
    for stream in streams:
        stream.feed(NOISE)
        stream.close()
    while not all(stream.done for stream in streams):
        for stream in streams:
            stream.step()
    assert [stream.text for stream in streams] == [text, text]


@pytest.mark.parametrize("family", ["nemotron_asr", "voxtral_realtime"])
def test_the_families_that_hear_as_people_speak(family: str) -> None:
    assert hasattr(importlib.import_module(f"mlx_audio.stt.models.{family}").Model, "create_streaming_session")
