"""A CTranslate2 file of Whisper becomes the files that mlx-audio reads; each array by a small file made here."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

import numpy as np
import pytest
from safetensors.numpy import load

from voxfleet_models.whisper_tiny.ctranslate2 import Array, NotCTranslate2, read_model
from voxfleet_models.whisper_tiny.model_files import MODEL, SETTINGS, TOKENIZER, model_files, with_timestamp_tokens

WIDTH, MEL_BANDS, AUDIO_POSITIONS, TEXT_POSITIONS, VOCABULARY, HEADS = 4, 3, 6, 5, 9, 2
KERNEL = 3
ELEMENT_TYPES = {"float32": 0, "int8": 1, "float16": 4}
TOKENIZER_FILE = {
    "model": {"vocab": {"a": 0, "b": 1}},
    "added_tokens": [{"id": 5, "content": "<|endoftext|>", "special": True}],
}


def variables() -> dict[str, Array]:
    """An encoder of one layer and a decoder of two, in which every element is another number."""
    shapes: dict[str, tuple[int, ...]] = {
        "encoder/conv1/weight": (WIDTH, MEL_BANDS, KERNEL),
        "encoder/conv1/bias": (WIDTH,),
        "encoder/conv2/weight": (WIDTH, WIDTH, KERNEL),
        "encoder/conv2/bias": (WIDTH,),
        "encoder/position_encodings/encodings": (AUDIO_POSITIONS, WIDTH),
        "decoder/position_encodings/encodings": (TEXT_POSITIONS, WIDTH),
        "decoder/embeddings/weight": (VOCABULARY, WIDTH),
    }
    norms = ["encoder/layer_norm", "decoder/layer_norm"]
    for layer in ("encoder/layer_0", "decoder/layer_0", "decoder/layer_1"):
        rows = {"self_attention/linear_0": 3 * WIDTH, "self_attention/linear_1": WIDTH}
        rows |= {"ffn/linear_0": 4 * WIDTH, "ffn/linear_1": WIDTH}
        norms += [f"{layer}/self_attention/layer_norm", f"{layer}/ffn/layer_norm"]
        if layer.startswith("decoder"):
            rows |= {"attention/linear_0": WIDTH, "attention/linear_1": 2 * WIDTH, "attention/linear_2": WIDTH}
            norms.append(f"{layer}/attention/layer_norm")
        for name, outputs in rows.items():
            inputs = 4 * WIDTH if name == "ffn/linear_1" else WIDTH
            shapes |= {f"{layer}/{name}/weight": (outputs, inputs), f"{layer}/{name}/bias": (outputs,)}
    shapes |= {f"{norm}/{part}": (WIDTH,) for norm in norms for part in ("gamma", "beta")}
    made: dict[str, Array] = {}
    begin = 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        made[name] = np.arange(begin, begin + size, dtype=np.float32).reshape(shape)
        begin += size
    for layer in ("encoder/layer_0", "decoder/layer_0", "decoder/layer_1"):
        made[f"{layer}/self_attention/linear_0/bias"][WIDTH : 2 * WIDTH] = 0
        if layer.startswith("decoder"):
            made[f"{layer}/attention/linear_1/bias"][:WIDTH] = 0
    heads = np.array(HEADS, dtype=np.int8)
    return {**made, "encoder/num_heads": heads, "decoder/num_heads": heads}


def binary(arrays: Mapping[str, Array], *, version: int = 6, specification: str = "WhisperSpec") -> bytes:
    def text(name: str) -> bytes:
        return struct.pack("<H", len(name) + 1) + name.encode() + b"\0"

    content = struct.pack("<I", version) + text(specification) + struct.pack("<II", 3, len(arrays))
    for name, array in arrays.items():
        content += text(name) + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        content += struct.pack("<BI", ELEMENT_TYPES[str(array.dtype)], array.nbytes) + array.tobytes()
    return content + struct.pack("<I", 1) + text("decoder/projection/weight") + text("decoder/embeddings/weight")


def converted(arrays: Mapping[str, Array]) -> dict[str, bytes]:
    tokenizer = json.dumps(TOKENIZER_FILE).encode()
    return model_files(
        {MODEL: binary(arrays), TOKENIZER: tokenizer, SETTINGS: b'{"alignment_heads": [[1, 0]], "lang_ids": []}'}
    )


def test_each_array_has_its_name_and_its_numbers() -> None:
    source = variables()
    weights = load(converted(source)["model.safetensors"])
    fused = source["decoder/layer_1/self_attention/linear_0/weight"]
    crossed = source["decoder/layer_1/attention/linear_1/bias"]
    expected = {
        "decoder.blocks.1.attn.query.weight": fused[:WIDTH],
        "decoder.blocks.1.attn.key.weight": fused[WIDTH : 2 * WIDTH],
        "decoder.blocks.1.attn.value.weight": fused[2 * WIDTH :],
        "decoder.blocks.1.attn.out.weight": source["decoder/layer_1/self_attention/linear_1/weight"],
        "decoder.blocks.1.cross_attn.query.bias": source["decoder/layer_1/attention/linear_0/bias"],
        "decoder.blocks.1.cross_attn.value.bias": crossed[WIDTH:],
        "decoder.blocks.1.cross_attn_ln.weight": source["decoder/layer_1/attention/layer_norm/gamma"],
        "decoder.blocks.1.mlp2.weight": source["decoder/layer_1/ffn/linear_1/weight"],
        "encoder.blocks.0.mlp_ln.bias": source["encoder/layer_0/ffn/layer_norm/beta"],
        "encoder.ln_post.weight": source["encoder/layer_norm/gamma"],
        "decoder.ln.bias": source["decoder/layer_norm/beta"],
        "encoder.conv1.weight": source["encoder/conv1/weight"].transpose(0, 2, 1),
        "decoder.token_embedding.weight": source["decoder/embeddings/weight"],
        "decoder.positional_embedding": source["decoder/position_encodings/encodings"],
    }
    for name, array in expected.items():
        np.testing.assert_array_equal(weights[name], array, err_msg=name)
    assert not [name for name in weights if name.endswith("key.bias")]
    whole_names, encoder_block, decoder_block = 10, 15, 24
    assert len(weights) == whole_names + encoder_block + 2 * decoder_block
    converted_once = sum(
        array.size
        for name, array in source.items()
        if not name.endswith("num_heads") and name != "encoder/position_encodings/encodings"
    )
    key_biases = 5 * WIDTH
    assert sum(array.size for array in weights.values()) == converted_once - key_biases


def test_the_settings_say_what_the_shapes_are() -> None:
    files = converted(variables())
    assert json.loads(files["config.json"]) == {
        "model_type": "whisper",
        "n_mels": MEL_BANDS,
        "n_audio_ctx": AUDIO_POSITIONS,
        "n_audio_state": WIDTH,
        "n_audio_head": HEADS,
        "n_audio_layer": 1,
        "n_vocab": VOCABULARY,
        "n_text_ctx": TEXT_POSITIONS,
        "n_text_state": WIDTH,
        "n_text_head": HEADS,
        "n_text_layer": 2,
    }
    assert json.loads(files["generation_config.json"]) == {"alignment_heads": [[1, 0]]}
    assert json.loads(files["preprocessor_config.json"])["feature_size"] == MEL_BANDS


def test_the_same_file_gives_the_same_bytes() -> None:
    arrays = variables()
    assert converted(arrays) == converted(dict(reversed(arrays.items())))


def test_the_precision_of_the_file_is_kept() -> None:
    halves = {
        name: array.astype(np.float16) if array.dtype == np.float32 else array for name, array in variables().items()
    }
    weights = load(converted(halves)["model.safetensors"])
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float16)}


def test_times_get_tokens_up_to_the_vocabulary() -> None:
    added = with_timestamp_tokens(TOKENIZER_FILE, VOCABULARY)["added_tokens"]
    assert [(token["id"], token["content"]) for token in added] == [
        (5, "<|endoftext|>"),
        (6, "<|0.00|>"),
        (7, "<|0.02|>"),
        (8, "<|0.04|>"),
    ]


def broken(name: str, array: Array) -> bytes:
    return binary({**variables(), name: array})


BIAS = "decoder/layer_0/self_attention/linear_0/bias"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"RIFF" + bytes(60), "binary version 1179011410, not 6"),
        (binary(variables(), specification="TransformerSpec"), "the file holds TransformerSpec, not WhisperSpec"),
        (binary(variables())[:500], "the file ends at byte 500, inside a value"),
        (broken(BIAS, np.ones(3 * WIDTH, dtype=np.float32)), "layer_0/self_attention/linear_0 has a bias of keys"),
        (broken("encoder/conv1/bias", np.ones(WIDTH, dtype=np.int8)), "encoder/conv1/bias is stored as int8"),
        (
            binary({name: array for name, array in variables().items() if name != "decoder/layer_norm/beta"}),
            "the file has no decoder/layer_norm/beta",
        ),
    ],
)
def test_another_file_is_refused_with_what_it_is(content: bytes, said: str) -> None:
    with pytest.raises(NotCTranslate2, match=said):
        model_files({MODEL: content, TOKENIZER: json.dumps(TOKENIZER_FILE).encode(), SETTINGS: b"{}"})


def test_an_array_of_another_size_than_its_shape_is_refused() -> None:
    name = "encoder/conv1/bias"
    content = binary({name: np.ones(2, dtype=np.float32)})
    shape = content.index(name.encode()) + len(name) + 2
    with pytest.raises(NotCTranslate2, match=r"encoder/conv1/bias has 2 elements for the shape \(3,\)"):
        read_model(content[:shape] + struct.pack("<I", 3) + content[shape + 4 :])
