"""The files of the model's folder, from the files of the package. Pure; the same bytes on every run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from safetensors.numpy import save

from voxfleet_models.whisper_tiny.ctranslate2 import read_model
from voxfleet_models.whisper_tiny.weights import whisper_dimensions, whisper_weights

MODEL, TOKENIZER, SETTINGS = "model.bin", "tokenizer.json", "config.json"
SOURCE_NAMES = (MODEL, TOKENIZER, SETTINGS)

_TIMESTAMP_STEP_SECONDS = 0.02
_END = "<|endoftext|>"
_PROCESSOR = {"processor_class": "WhisperProcessor"}
_FEATURES = {
    **_PROCESSOR,
    "feature_extractor_type": "WhisperFeatureExtractor",
    "sampling_rate": 16_000,
    "n_fft": 400,
    "hop_length": 160,
    "chunk_length": 30,
}
_TOKENIZER_SETTINGS = {
    **_PROCESSOR,
    "tokenizer_class": "WhisperTokenizer",
    "bos_token": _END,
    "eos_token": _END,
    "pad_token": _END,
    "unk_token": _END,
    "errors": "replace",
    "add_prefix_space": False,
    "model_max_length": 1024,
}


def model_files(sources: Mapping[str, bytes]) -> dict[str, bytes]:
    """Returns content by name, from the content of SOURCE_NAMES. Raises NotCTranslate2."""
    model = read_model(sources[MODEL])
    weights = {"model.safetensors": save(whisper_weights(model), {"format": "mlx"})}
    dimensions = whisper_dimensions(model)
    tokenizer = with_timestamp_tokens(json.loads(sources[TOKENIZER]), dimensions["n_vocab"])
    heads = {"alignment_heads": json.loads(sources[SETTINGS])["alignment_heads"]}
    settings: dict[str, object] = {
        "config.json": {"model_type": "whisper", **dimensions},
        "generation_config.json": heads,
        "preprocessor_config.json": {**_FEATURES, "feature_size": dimensions["n_mels"]},
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": _TOKENIZER_SETTINGS,
    }
    files = {name: json.dumps(content, ensure_ascii=False).encode() for name, content in settings.items()}
    return weights | files


def with_timestamp_tokens(tokenizer: Mapping[str, Any], vocabulary: int) -> dict[str, Any]:
    """Names the tokens up to `vocabulary` that old tokenizer files leave out: the times <|0.00|>, <|0.02|> and so on.

    mlx-audio looks the first of them up by its name.
    """
    added = list(tokenizer["added_tokens"])
    first = 1 + max(token["id"] for token in added)
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    times = [
        {"id": number, "content": f"<|{(number - first) * _TIMESTAMP_STEP_SECONDS:.2f}|>", **plain}
        for number in range(first, vocabulary)
    ]
    return {**tokenizer, "added_tokens": added + times}
