"""Languages: what a job writes, what a family is told, and what a row says. Pure: no MLX.

Jobs and rows use the codes of LANGUAGES. Families take codes, names or codes with a region, and most take anything
else for another language without a word; which ones a model knows follows from its family and its config.json, after
the source of the pinned mlx-audio.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

Config = Mapping[str, object]
Known = Mapping[str, str]
"""What the family is told, by the code in lower case."""

# In the order of Whisper's tokens: a vocabulary with n languages has the first n.
LANGUAGES: Mapping[str, str] = {
    "en": "English", "zh": "Chinese", "de": "German", "es": "Spanish", "ru": "Russian", "ko": "Korean", "fr": "French",
    "ja": "Japanese", "pt": "Portuguese", "tr": "Turkish", "pl": "Polish", "ca": "Catalan", "nl": "Dutch",
    "ar": "Arabic", "sv": "Swedish", "it": "Italian", "id": "Indonesian", "hi": "Hindi", "fi": "Finnish",
    "vi": "Vietnamese", "he": "Hebrew", "uk": "Ukrainian", "el": "Greek", "ms": "Malay", "cs": "Czech",
    "ro": "Romanian", "da": "Danish", "hu": "Hungarian", "ta": "Tamil", "no": "Norwegian", "th": "Thai", "ur": "Urdu",
    "hr": "Croatian", "bg": "Bulgarian", "lt": "Lithuanian", "la": "Latin", "mi": "Maori", "ml": "Malayalam",
    "cy": "Welsh", "sk": "Slovak", "te": "Telugu", "fa": "Persian", "lv": "Latvian", "bn": "Bengali", "sr": "Serbian",
    "az": "Azerbaijani", "sl": "Slovenian", "kn": "Kannada", "et": "Estonian", "mk": "Macedonian", "br": "Breton",
    "eu": "Basque", "is": "Icelandic", "hy": "Armenian", "ne": "Nepali", "mn": "Mongolian", "bs": "Bosnian",
    "kk": "Kazakh", "sq": "Albanian", "sw": "Swahili", "gl": "Galician", "mr": "Marathi", "pa": "Punjabi",
    "si": "Sinhala", "km": "Khmer", "sn": "Shona", "yo": "Yoruba", "so": "Somali", "af": "Afrikaans", "oc": "Occitan",
    "ka": "Georgian", "be": "Belarusian", "tg": "Tajik", "sd": "Sindhi", "gu": "Gujarati", "am": "Amharic",
    "yi": "Yiddish", "lo": "Lao", "uz": "Uzbek", "fo": "Faroese", "ht": "Haitian Creole", "ps": "Pashto",
    "tk": "Turkmen", "nn": "Nynorsk", "mt": "Maltese", "sa": "Sanskrit", "lb": "Luxembourgish", "my": "Myanmar",
    "bo": "Tibetan", "tl": "Tagalog", "mg": "Malagasy", "as": "Assamese", "tt": "Tatar", "haw": "Hawaiian",
    "ln": "Lingala", "ha": "Hausa", "ba": "Bashkir", "jw": "Javanese", "su": "Sundanese", "yue": "Cantonese",
}  # fmt: skip
_BY_NAME = {name.lower(): code for code, name in LANGUAGES.items()} | {
    "burmese": "my", "canton": "yue", "castilian": "es", "filipino": "tl", "flemish": "nl", "mandarin": "zh",
    "valencian": "ca",
}  # fmt: skip

_WHISPER_OTHER_TOKENS = 51_765
"""Tokens of Whisper's vocabulary that are no language; one more in a multilingual one."""
_COHERE = ("en", "fr", "de", "es", "it", "pt", "nl", "pl", "el", "ar", "ja", "zh", "vi", "ko")
_CANARY = (
    "bg", "hr", "cs", "da", "nl", "en", "et", "fi", "fr", "de", "el", "hu", "it", "lv", "lt", "mt", "pl", "pt", "ro",
    "sk", "sl", "es", "sv", "ru", "uk",
)  # fmt: skip
_GRANITE = ("en", "fr", "de", "es", "pt", "ja", "it", "zh")


def code_of(language: str) -> str:
    """The code of a language that is written as a code or as its English name, in any case; else as it is written."""
    lowered = language.lower()
    if lowered in LANGUAGES:
        return lowered
    return _BY_NAME.get(lowered, language)


def resolved(written: str, known: Known | None) -> str | None:
    """The code in `known` that a job means by `written`; None: the model does not know it. Of unknown ones all do."""
    code = code_of(written)
    if known is None:
        return code
    return next((name for name in (written.lower(), code.lower()) if name in known), None)


def told(written: str, known: Known | None) -> str:
    """What the family is told for `written`, which its model knows; without `known`, how it spells it is not known."""
    if known is None:
        return written
    code = resolved(written, known) or written
    return known.get(code, code)


def known_languages(family: str, config: Config) -> Known | None:
    """The languages that a model knows; None: this is not told by its config.json."""
    rule = _RULES.get(family)
    return None if rule is None else rule(config)


def _whisper(config: Config) -> Known | None:
    tokens = config.get("n_vocab", config.get("vocab_size"))
    if not isinstance(tokens, int):
        return None
    if tokens <= _WHISPER_OTHER_TOKENS + 99:
        return _codes(("en",))
    return _codes(list(LANGUAGES)[: tokens - _WHISPER_OTHER_TOKENS - 1])


def _nemotron(config: Config) -> Known | None:
    """Codes with a region, such as en-US; a model without prompts hears one language, whatever it is told."""
    prompt = config.get("prompt")
    prompts = prompt.get("prompt_dictionary") if isinstance(prompt, Mapping) else None
    if isinstance(prompts, Mapping) and prompts:
        return {str(name).lower(): str(name) for name in prompts if name != "auto"}
    return _codes(("en",)) if config.get("model_type") == "nemotron_asr_streaming" else None


def _named(config: Config) -> Known:
    """Names, such as English; of the config's list, if it has one."""
    listed = _listed(config, "support_languages")
    if not listed:
        return dict(LANGUAGES)
    return {code_of(name).lower(): name for name in listed}


def _listed_codes(field: str, default: Iterable[str]) -> Callable[[Config], Known]:
    return lambda config: _codes(_listed(config, field) or default)


def _fixed(*codes: str) -> Callable[[Config], Known]:
    return lambda _: _codes(codes)


def _codes(codes: Iterable[str]) -> Known:
    return {code.lower(): code for code in codes}


def _listed(config: Config, field: str) -> list[str]:
    listed = config.get(field)
    return [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []


_RULES: Mapping[str, Callable[[Config], Known | None]] = {
    "canary": _listed_codes("supported_languages", _CANARY),
    "cohere_asr": _listed_codes("supported_languages", _COHERE),
    "fun_asr_nano": _fixed("zh", "yue", "en", "ja", "cjy", "cmn", "gan", "hak", "hsn", "nan", "wuu"),
    "granite_speech": _fixed(*_GRANITE),
    "mega_asr": _named,
    "mimo_v2_asr": _fixed("zh", "en"),
    "ming_v3_asr": _fixed("zh", "en"),
    "nemotron_asr": _nemotron,
    "phonon": lambda _: {"en": LANGUAGES["en"]},
    "qwen3_asr": _named,
    "sensevoice": _fixed("zh", "en", "yue", "ja", "ko"),
    "voxtral": lambda _: _codes(code for code in LANGUAGES if len(code) == 2),
    "whisper": _whisper,
}


def language_problem(field: str, name: str, written: str, known: Known | None) -> str | None:
    """Why a model of family `name` cannot be given this language; None when it can."""
    if resolved(written, known) is not None:
        return None
    if known is not None and list(known) == ["en"]:
        return f"{field}: this {name} model knows en alone and not {written}; write en, or take a multilingual model"
    return f"{field}: this {name} model knows {', '.join(sorted(known or ()))} and not {written}; write one of these"
