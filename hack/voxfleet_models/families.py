"""One small configuration for each family, and its weights in the layout that mlx-audio reads."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import tokenizers
from mlx.utils import tree_flatten, tree_map

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,!?'"
_Weights = dict[str, mx.array]


@dataclass(frozen=True, slots=True)
class TinyFamily:
    module: str
    """The module below mlx_audio."""
    config: Mapping[str, Any]
    files: Mapping[str, object] | Callable[[], Mapping[str, object]] = field(default_factory=dict)
    """JSON files beside the config."""
    stored: Callable[[_Weights], _Weights] = dict
    """Converts weights from MLX's layout to the one that the family's `sanitize` expects."""
    beside: Callable[[Path], None] | None = None
    """Writes the files that are not JSON."""


def make_model(family: str, folder: Path, seed: int = 1) -> Path:
    """Writes config, tokenizer and random float32 weights; the same seed gives the same files. Returns the folder."""
    tiny = FAMILIES[family]
    folder.mkdir(parents=True, exist_ok=True)
    files = tiny.files() if callable(tiny.files) else tiny.files
    for name, content in {"config.json": tiny.config, **files}.items():
        (folder / name).write_text(json.dumps(content))
    mx.random.seed(seed)
    module = importlib.import_module(f"mlx_audio.{tiny.module}")
    config = module.ModelConfig.from_dict({**json.loads(json.dumps(tiny.config)), "model_path": str(folder)})
    model = module.Model(config)
    weights = tree_map(lambda array: array + 0.02 * mx.random.normal(array.shape), model.parameters())
    mx.save_safetensors(str(folder / "model.safetensors"), tiny.stored(dict(tree_flatten(weights))))
    if tiny.beside is not None:
        tiny.beside(folder)
    return folder


def _word_tokenizer() -> dict[str, object]:
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3} | {word: number + 4 for number, word in enumerate(WORDS)}
    return {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }


def _character_tokenizer(size: int = len(_CHARACTERS)) -> dict[str, object]:
    """`size`: tokens, of which those beyond the alphabet are letters of other languages."""
    others = "".join(map(chr, range(0x100, 0x100 + size - len(_CHARACTERS))))
    vocabulary = {character: number for number, character in enumerate("?" + _CHARACTERS.replace("?", "") + others)}
    return {
        "version": "1.0",
        "added_tokens": [],
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": "?"},
        # Without it, decoding puts spaces between the characters.
        "decoder": {"type": "Fuse"},
    }


_WHISPER_TEXT_TOKENS = 50_256


def _whisper_files() -> Mapping[str, object]:
    """A tokenizer of single bytes, with the special tokens at the numbers that English-only Whisper gives them."""
    # Whisper's tokenizer brings its languages; other families do not need transformers.
    from mlx_audio.stt.models.whisper.tokenizer import LANGUAGES  # type: ignore[import-untyped] # it ships no types

    bytes_alone = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    words = bytes_alone + [f"filler{number}" for number in range(len(bytes_alone), _WHISPER_TEXT_TOKENS)]
    special = ["endoftext", "startoftranscript", *list(LANGUAGES)[:99], "translate", "transcribe", "startoflm"]
    special += ["startofprev", "nocaptions", "notimestamps", *(f"{step * 0.02:.2f}" for step in range(1501))]
    vocabulary = {word: number for number, word in enumerate([*words, *(f"<|{name}|>" for name in special)])}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "tokenizer.json": {
            "version": "1.0",
            "added_tokens": [
                {"id": number, "content": word, **plain}
                for word, number in vocabulary.items()
                if number >= _WHISPER_TEXT_TOKENS
            ],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
        },
        "tokenizer_config.json": {
            "tokenizer_class": "WhisperTokenizer",
            **{f"{use}_token": "<|endoftext|>" for use in ("bos", "eos", "unk", "pad")},
        },
        "preprocessor_config.json": {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 80},
    }


def _transposed(*parts: str) -> Callable[[_Weights], _Weights]:
    """Stores convolutions in PyTorch's layout, for families that always transpose them."""

    def stored(weights: _Weights) -> _Weights:
        return {
            name: array.transpose(0, 2, 1)
            if array.ndim == 3 and name.endswith("weight") and any(part in name for part in parts)
            else array
            for name, array in weights.items()
        }

    return stored


def _write_voice(folder: Path) -> None:
    (folder / "voices").mkdir(exist_ok=True)
    width = _POCKET_WIDTH
    mx.save_safetensors(str(folder / "voices" / "anna.safetensors"), {"emb": mx.random.normal((1, 4, width))})


_POCKET_WIDTH = 32
_POCKET_TOKENIZER = _character_tokenizer()

FAMILIES: Mapping[str, TinyFamily] = {
    "granite_speech5_ctc": TinyFamily(
        "stt.models.granite_speech5_ctc",
        {
            "model_type": "granite_speech5_ctc",
            "vocab_size": 14,
            "pad_token_id": 0,
            "encoder_config": {
                "vocab_size": 14,
                "hidden_size": 48,
                "intermediate_size": 96,
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
                "head_dim": 12,
                "context_size": 16,
                "max_position_embeddings": 32,
                "subsample_layers": [0, 1],
            },
        },
        {"tokenizer.json": _word_tokenizer()},
    ),
    "sensevoice": TinyFamily(
        "stt.models.sensevoice",
        {
            "model_type": "sensevoice",
            "vocab_size": 14,
            "input_size": 560,
            "encoder_conf": {
                "output_size": 32,
                "attention_heads": 2,
                "linear_units": 64,
                "num_blocks": 2,
                "tp_blocks": 1,
            },
        },
        {"tokens.json": ["<blank>", "<s>", "</s>", "<unk>", *(f"▁{word}" for word in WORDS)]},
        _transposed("fsmn_block"),
    ),
    "moonshine": TinyFamily(
        "stt.models.moonshine",
        {
            "model_type": "moonshine",
            "vocab_size": 128,
            "hidden_size": 32,
            "intermediate_size": 64,
            "encoder_num_hidden_layers": 1,
            "decoder_num_hidden_layers": 1,
            "encoder_num_attention_heads": 2,
            "decoder_num_attention_heads": 2,
        },
        {
            "tokenizer.json": _character_tokenizer(128),
            "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"},
        },
        _transposed("conv"),
    ),
    "whisper": TinyFamily(
        "stt.models.whisper",
        {
            "model_type": "whisper",
            "n_mels": 80,
            "n_audio_ctx": 1500,
            "n_audio_state": 16,
            "n_audio_head": 2,
            "n_audio_layer": 1,
            "n_vocab": 51_864,
            "n_text_ctx": 448,
            "n_text_state": 16,
            "n_text_head": 2,
            "n_text_layer": 2,
        },
        _whisper_files,
    ),
    "pocket_tts": TinyFamily(
        "tts.models.pocket_tts",
        {
            "model_type": "pocket_tts",
            # Otherwise the first step ends the audio; a model that never ends synthesizes up to its limit.
            "eos_threshold": -1e9,
            "flow_lm": {
                "dtype": "float32",
                "ldim": 8,
                "flow": {"dim": 16, "depth": 1},
                "transformer": {
                    "hidden_scale": 2,
                    "max_period": 10000,
                    "d_model": _POCKET_WIDTH,
                    "num_heads": 2,
                    "num_layers": 1,
                },
                "lookup_table": {
                    "dim": 16,
                    "n_bins": len(_CHARACTERS),
                    "tokenizer": "huggingface",
                    "tokenizer_path": "tokenizer.json",
                },
            },
            "mimi": {
                "dtype": "float32",
                "sample_rate": 24000,
                "channels": 1,
                "frame_rate": 12.5,
                "seanet": {
                    "dimension": 16,
                    "channels": 1,
                    "n_filters": 2,
                    "n_residual_layers": 1,
                    "ratios": [6, 5, 4],
                    "kernel_size": 7,
                    "residual_kernel_size": 3,
                    "last_kernel_size": 3,
                    "dilation_base": 2,
                    "pad_mode": "constant",
                    "compress": 2,
                },
                "transformer": {
                    "d_model": 16,
                    "input_dimension": 16,
                    "output_dimensions": [16],
                    "num_heads": 2,
                    "num_layers": 1,
                    "layer_scale": 0.01,
                    "context": 50,
                    "dim_feedforward": 32,
                },
                "quantizer": {"dimension": 8, "output_dimension": 16},
            },
        },
        {"tokenizer.json": _POCKET_TOKENIZER},
        beside=_write_voice,
    ),
}
