"""Files may lack what a family never reads: its own code decides that, not our table."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten, tree_unflatten

from voxfleet_agent.engine.loaded_parts import problems

TOKENS = [[1, 2, 3]]


def chatterbox(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    config = importlib.import_module("mlx_audio.tts.models.chatterbox.config")
    small = config.LLAMA_520M_CONFIG | {"num_hidden_layers": 1, "intermediate_size": 64, "vocab_size": 8}
    monkeypatch.setitem(config.LLAMA_CONFIGS, "Llama_520M", small)
    return importlib.import_module("mlx_audio.tts.models.chatterbox.t3.t3"), config.T3Config(
        8, speech_tokens_dict_size=8, max_text_tokens=8, max_speech_tokens=8
    )


def chatterbox_turbo(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    module = importlib.import_module("mlx_audio.tts.models.chatterbox_turbo.models.t3.t3")
    small = module.GPT2Config(n_layer=1, vocab_size=8)
    monkeypatch.setattr(module, "create_gpt2_config", lambda: small)
    return module, module.T3Config(text_tokens_dict_size=8, speech_tokens_dict_size=8)


def logits(family: str, t3: Any, condition: Any) -> mx.array:
    """What the model says of its next token of speech, computed as its own `inference` does."""
    text, speech = mx.array(TOKENS), mx.array(TOKENS)
    embeds, _ = t3.prepare_input_embeds(t3_cond=condition, text_tokens=text, speech_tokens=speech)
    if family == "chatterbox":
        return mx.array(t3.speech_head(t3.tfmr.model(inputs=None, input_embeddings=embeds)))
    return mx.array(t3.speech_head(t3.tfmr(inputs_embeds=embeds, cache=None)[0]))


@pytest.mark.parametrize(("family", "make"), [("chatterbox", chatterbox), ("chatterbox_turbo", chatterbox_turbo)])
def test_a_backbone_s_parameters_that_nothing_reads_may_be_missing_and_no_others(
    family: str, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, config = make(monkeypatch)
    t3 = module.T3(config)

    def loss(parameters: Mapping[str, mx.array]) -> mx.array:
        t3.update(tree_unflatten(list(parameters.items())))
        condition = module.T3Cond(speaker_emb=mx.ones((1, 256)), cond_prompt_speech_tokens=mx.array(TOKENS))
        return (logits(family, t3, condition) ** 2).sum()

    parameters: dict[str, mx.array] = dict(tree_flatten(t3.parameters()))
    backbone = {name: array for name, array in parameters.items() if name.startswith("tfmr.")}
    gradients = mx.grad(loss)(backbone)
    unread = {f"t3.{name}" for name, gradient in gradients.items() if not mx.any(gradient).item()}
    names = [f"t3.{name}" for name in backbone]
    tolerated = {name for name in names if not problems(family, unfilled=[name], given=(), expected=names, absent=())}
    assert tolerated == unread and unread
