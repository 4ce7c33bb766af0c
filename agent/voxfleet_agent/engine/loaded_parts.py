"""Is a loaded model whole? Pure: no MLX.

mlx-audio fills what no file holds with the random numbers of a new model, and goes on without a tokenizer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

_CHATTERBOX = r".*\.(rand_noise|pos_enc\.pe|stft_window|trim_fade)"
COMPUTED: Mapping[str, tuple[str, ...]] = {
    "cohere_asr": (r"transf_decoder\.embedding\.position_embedding\.pos_enc",),
    "fireredasr2": (r"(en|de)coder\.positional_encoding\.pe",),
    "ming_v3_asr": (r"model\.audio\.positional_embedding",),
    # Their backbones are given embeddings, not tokens, and their own heads tell the next token.
    "chatterbox": (_CHATTERBOX, r"t3\.tfmr\.(lm_head|model\.embed_tokens)\.\w+"),
    "chatterbox_turbo": (_CHATTERBOX, r"t3\.tfmr\.wte\.\w+"),
}
"""By family, the parameters that files may lack, because the model computes them or never reads them."""

_TOKENIZER = "tokenizer.json and tokenizer_config.json"
PARTS: Mapping[str, Mapping[tuple[str, ...], str]] = {
    "canary": {("_tokenizer",): "tokenizer.model or tokens.txt"},
    "chatterbox_turbo": {("tokenizer",): _TOKENIZER},
    "mms": {("_vocab",): "vocab.json"},
    "moonshine": {("_tokenizer",): _TOKENIZER},
    "moss_tts": {("tokenizer",): _TOKENIZER},
    "omnivoice": {("text_tokenizer",): _TOKENIZER},
    "qwen3_tts": {("tokenizer",): _TOKENIZER, ("speech_tokenizer",): "the folder speech_tokenizer"},
    "sensevoice": {("_tokenizer", "_token_list"): "chn_jpn_yue_eng_ko_spectok.bpe.model or tokens.json"},
    "tada": {("_tokenizer",): "a tokenizer, which it looks for on the hub"},
    "voxtral_tts": {("tokenizer",): f"tekken.json, or {_TOKENIZER}"},
    "whisper": {("_processor",): f"preprocessor_config.json, {_TOKENIZER}"},
}
"""By family: which attributes, one of them at least, hold what is read from files beside the weights."""
SPECIAL_TOKENS: Mapping[str, tuple[str, ...]] = {"whisper": ("<|startoftranscript|>", "<|notimestamps|>", "<|0.00|>")}
"""By family, tokens without which its decoding takes another token for them: some conversions lack those of times."""
LEAST_TOKENS = 16
"""transformers returns a tokenizer with hardly any token when the file of its vocabulary is missing."""

_INDEX = "model.safetensors.index.json"
_NAMED = 3


def missing_files(folder: Path) -> list[str]:
    """The files that the index of the model's weights names and that are not in `folder`.

    mlx-audio reads all files of weights and no index, which conversions leave behind: alone it says nothing.
    """
    try:
        index = json.loads((folder / _INDEX).read_bytes())
        named = {str(file) for file in index["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []  # no index, or one that cannot be read
    return sorted(name for name in named if not (folder / name).is_file())


def problems(
    family: str,
    *,
    unfilled: Sequence[str],
    given: Iterable[str],
    expected: Iterable[str],
    absent: Iterable[str],
    missing_files: Sequence[str] = (),
) -> list[str]:
    """Why a model is not whole, one line for each kind of problem; empty when it is.

    `unfilled`: parameters that loading left as they were made. `given`: tensors of its files, as the family names them.
    `expected`: all parameters. `absent`: attributes that hold nothing, or a tokenizer that lacks its vocabulary.
    `missing_files`: where tensors that no file holds may be.
    """
    computed = [re.compile(pattern) for pattern in COMPUTED.get(family, ())]
    lacking = [name for name in unfilled if not any(pattern.fullmatch(name) for pattern in computed)]
    found: list[str] = []
    if lacking:
        found.append(f"no file holds {_tensors(lacking)}")
        if missing_files:
            found.append(f"its index names files that are missing: {', '.join(missing_files)}")
    surplus = _further_layers(given, frozenset(expected))
    if surplus:
        found.append(f"its config.json announces fewer layers than its files hold, which have {_tensors(surplus)} more")
    none = frozenset(absent)
    found += [
        f"its tokenizer or preprocessor could not be read from {files}"
        for attributes, files in PARTS.get(family, {}).items()
        if none.issuperset(attributes)
    ]
    return found


def _further_layers(given: Iterable[str], expected: frozenset[str]) -> list[str]:
    """Tensors of layers beyond those of the model. Other tensors that a model does not use are common and harmless."""
    kinds = frozenset(map(_without_numbers, expected))
    return [name for name in given if name not in expected and _without_numbers(name) in kinds]


def _without_numbers(name: str) -> str:
    return re.sub(r"\b\d+\b", "#", name)


def _tensors(names: Sequence[str]) -> str:
    listed = ", ".join(names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(names)} tensor{'s' * (len(names) != 1)} ({listed}{more})"
