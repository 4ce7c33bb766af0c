"""What the families that speak need beside their model: Python packages and data. Pure: no MLX.

After the source of the pinned mlx-audio, which imports them when the first text comes, and lets spaCy and the hub
download data then. A lane has no network, so whoever sets up the Mac installs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

EXTRA = "pip install 'voxfleet[tts]'"
_SPACY_MODEL = "en_core_web_sm"
_ESPEAK = ("misaki", "phonemizer", "espeakng_loader")
_ENGLISH = (*_ESPEAK, "num2words", "spacy", _SPACY_MODEL)
_JAPANESE = ("misaki", "fugashi", "jaconv", "mojimoji", "pyopenjtalk", "unidic")
_CHINESE = ("misaki", "cn2an", "jieba", "ordered_set", "pypinyin", "pypinyin_dict")

IN_EXTRA: Mapping[str, Sequence[str]] = {"kokoro": _ENGLISH, "kitten_tts": ("phonemizer",)}
"""By family, the modules that it speaks English with, and that the extra `tts` installs but for spaCy's model."""

_KOKORO: Mapping[str, Sequence[str]] = {
    **dict.fromkeys("ab", _ENGLISH),
    **dict.fromkeys("efhip", _ESPEAK),
    "j": _JAPANESE,
    "z": _CHINESE,
}
"""By its code of a language."""
_OTHERS: Mapping[str, Sequence[str]] = {
    "kitten_tts": ("phonemizer",),
    "melotts": ("g2p_en",),
    "voxtral_tts": ("mistral_common",),
}
_LANGUAGE_OF_KOKORO = "a"

_COMMANDS = (
    dict.fromkeys((*_ESPEAK, "num2words", "spacy"), EXTRA)
    | dict.fromkeys(_JAPANESE[1:], "pip install 'misaki[ja]' && python -m unidic download")
    | dict.fromkeys(_CHINESE[1:], "pip install 'misaki[zh]'")
    | {
        _SPACY_MODEL: f"python -m spacy download {_SPACY_MODEL}",
        "g2p_en": "pip install g2p_en",
        "mistral_common": "pip install 'mistral-common[audio]'",
    }
)
"""How to install a module. Japanese, Chinese, MeloTTS and Voxtral are not in the extra: a dictionary of 500 MB, data
that g2p_en and nltk download as they are imported, and mistral-common, which wants an older numpy than the lock."""


def needed_modules(family: str, language: str | None) -> Sequence[str]:
    """The modules that a family imports as it speaks. `language`: what the family is told; None: its default."""
    if family == "kokoro":
        return _KOKORO.get(language or _LANGUAGE_OF_KOKORO, ())
    return _OTHERS.get(family, ())


def missing_modules_problem(family: str, modules: Sequence[str], installed: Callable[[str], bool]) -> str | None:
    """Why a family cannot speak here, with the commands that mend it; None when it can."""
    missing = [module for module in modules if not installed(module)]
    if not missing:
        return None
    listed = f"the Python package{'s' * (len(missing) > 1)} {', '.join(missing)}"
    return f"a {family} model needs {listed}, which a lane does not download; run: {' && '.join(_commands(missing))}"


def _commands(modules: Sequence[str]) -> Iterator[str]:
    yield from dict.fromkeys(map(install_command, modules))


def install_command(module: str) -> str:
    return _COMMANDS.get(module, f"pip install {module}")


def voice_file_problem(family: str, folder: Path, voice: str | None) -> str | None:
    """Which file of a voice is missing that mlx-audio would look for on the hub; None when there is none."""
    if family != "kokoro":
        return None
    file = folder / "voices" / f"{voice or 'af_heart'}.safetensors"
    return None if file.is_file() else f"the model has no {file.name}; copy it from the model's repository to {file}"
