"""Whisper's arrays under the names and in the layouts that mlx-audio reads. Pure.

CTranslate2 stores the query, key and value of self-attention as one matrix, and key and value of cross-attention as
another; a projection's rows are its outputs in both. It stores zeros where Whisper has no bias (keys), and convolutions
as (output, input, kernel) where MLX wants (output, kernel, input). mlx-audio computes the encoder's positions itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from voxfleet_models.whisper_tiny.ctranslate2 import Array, CTranslate2Model, NotCTranslate2

SPECIFICATION = "WhisperSpec"
SIDES = ("encoder", "decoder")
_FLOAT_TYPES = (np.float16, np.float32)
_WHOLE_NAMES: Mapping[str, str] = {
    "decoder/embeddings/weight": "decoder.token_embedding.weight",
    "decoder/position_encodings/encodings": "decoder.positional_embedding",
    "encoder/layer_norm/gamma": "encoder.ln_post.weight",
    "encoder/layer_norm/beta": "encoder.ln_post.bias",
    "decoder/layer_norm/gamma": "decoder.ln.weight",
    "decoder/layer_norm/beta": "decoder.ln.bias",
    "encoder/conv1/weight": "encoder.conv1.weight",
    "encoder/conv1/bias": "encoder.conv1.bias",
    "encoder/conv2/weight": "encoder.conv2.weight",
    "encoder/conv2/bias": "encoder.conv2.bias",
}


@dataclass(frozen=True, slots=True)
class _Projection:
    """One of CTranslate2's matrices of a layer, which is several of mlx-audio's."""

    source: str
    targets: tuple[str, ...]


_SELF_ATTENTION = (
    _Projection("self_attention/linear_0", ("attn.query", "attn.key", "attn.value")),
    _Projection("self_attention/linear_1", ("attn.out",)),
)
_CROSS_ATTENTION = (
    _Projection("attention/linear_0", ("cross_attn.query",)),
    _Projection("attention/linear_1", ("cross_attn.key", "cross_attn.value")),
    _Projection("attention/linear_2", ("cross_attn.out",)),
)
_FEED_FORWARD = (_Projection("ffn/linear_0", ("mlp1",)), _Projection("ffn/linear_1", ("mlp2",)))
_PROJECTIONS: Mapping[str, tuple[_Projection, ...]] = {
    "encoder": (*_SELF_ATTENTION, *_FEED_FORWARD),
    "decoder": (*_SELF_ATTENTION, *_CROSS_ATTENTION, *_FEED_FORWARD),
}
_NORMS: Mapping[str, Mapping[str, str]] = {
    "encoder": {"self_attention/layer_norm": "attn_ln", "ffn/layer_norm": "mlp_ln"},
    "decoder": {
        "self_attention/layer_norm": "attn_ln",
        "attention/layer_norm": "cross_attn_ln",
        "ffn/layer_norm": "mlp_ln",
    },
}


def whisper_weights(model: CTranslate2Model) -> dict[str, Array]:
    """The arrays by mlx-audio's names, in the file's own precision.

    Raises NotCTranslate2 for another specification, a missing array, quantized ones, and a bias of keys.
    """
    if model.specification != SPECIFICATION:
        raise NotCTranslate2(f"the file holds {model.specification}, not {SPECIFICATION}")
    weights = {target: _array(model, source) for source, target in _WHOLE_NAMES.items()}
    for side in SIDES:
        for layer in range(layers(model, side)):
            weights |= {f"{side}.blocks.{layer}.{name}": array for name, array in _layer(model, side, layer)}
    for name in ("encoder.conv1.weight", "encoder.conv2.weight"):
        weights[name] = weights[name].transpose(0, 2, 1)
    return {name: np.ascontiguousarray(array) for name, array in weights.items()}


def whisper_dimensions(model: CTranslate2Model) -> dict[str, int]:
    """mlx-audio's ModelDimensions, read from the shapes. Raises NotCTranslate2."""
    width, mel_bands, _ = _array(model, "encoder/conv1/weight").shape
    vocabulary, text_width = _array(model, "decoder/embeddings/weight").shape
    return {
        "n_mels": mel_bands,
        "n_audio_ctx": len(_array(model, "encoder/position_encodings/encodings")),
        "n_audio_state": width,
        "n_audio_head": _heads(model, "encoder"),
        "n_audio_layer": layers(model, "encoder"),
        "n_vocab": vocabulary,
        "n_text_ctx": len(_array(model, "decoder/position_encodings/encodings")),
        "n_text_state": text_width,
        "n_text_head": _heads(model, "decoder"),
        "n_text_layer": layers(model, "decoder"),
    }


def layers(model: CTranslate2Model, side: str) -> int:
    """How many layers the encoder or the decoder has."""
    count = 0
    while f"{side}/layer_{count}/ffn/linear_0/weight" in model.variables:
        count += 1
    return count


def _layer(model: CTranslate2Model, side: str, layer: int) -> Iterator[tuple[str, Array]]:
    prefix = f"{side}/layer_{layer}"
    for projection in _PROJECTIONS[side]:
        for part in ("weight", "bias"):
            whole = _array(model, f"{prefix}/{projection.source}/{part}")
            pieces = np.split(whole, len(projection.targets))
            for target, piece in zip(projection.targets, pieces, strict=True):
                if part == "bias" and target.endswith(".key"):
                    if piece.any():
                        raise NotCTranslate2(f"{prefix}/{projection.source} has a bias of keys, which Whisper has not")
                    continue
                yield f"{target}.{part}", piece
    for source, target in _NORMS[side].items():
        yield f"{target}.weight", _array(model, f"{prefix}/{source}/gamma")
        yield f"{target}.bias", _array(model, f"{prefix}/{source}/beta")


def _heads(model: CTranslate2Model, side: str) -> int:
    name = f"{side}/num_heads"
    if name not in model.variables:
        raise NotCTranslate2(f"the file has no {name}")
    return int(model.variables[name])


def _array(model: CTranslate2Model, name: str) -> Array:
    array = model.variables.get(name)
    if array is None:
        raise NotCTranslate2(f"the file has no {name}")
    if array.dtype not in _FLOAT_TYPES:
        raise NotCTranslate2(f"{name} is stored as {array.dtype}: take a file that is not quantized")
    return array
