"""What each of mlx-audio's text-to-speech families accepts. Pure: no MLX.

The table follows the source of the pinned mlx-audio: a family has a setting only if its `generate` uses it. Most
families silently ignore the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from voxfleet_agent.engine.languages import language_problem, told
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_task import Synthesis, SynthesisMode
from voxfleet_api.quantities import duration_milliseconds

_VOICE_NAME = re.compile(r"\w[\w +-]*")
"""Families treat a voice's name as a path or an address when it looks like one."""
_EPSILON_SECONDS = 1e-6
"""Families round an interval down to frames; without this margin a whole number of frames could lose one."""


@dataclass(frozen=True, slots=True)
class SynthesisFamily:
    """The settings of one family."""

    preset: bool = False
    """`voice` selects one of its voices."""
    reference: bool = False
    """`ref_audio` takes samples at the model's rate."""
    reference_by: str | None = None
    """What mlx-audio fetches from the hub to hear `ref_audio`. A lane cannot, and some families then go on with random
    numbers."""
    reference_text: bool = False
    """`ref_text` takes the text of those samples."""
    instructed_voice: bool = False
    """`instruct` changes the style of one of its voices."""
    design: bool = False
    """`instruct` alone describes a new voice."""
    speed: bool = False
    languages: Mapping[str, str] = field(default_factory=dict)
    """Its `lang_code` by language; empty: it accepts no language."""
    budget: bool = False
    """It has `max_tokens` and reports how many tokens it generated."""
    streams: bool = False
    frames_per_second: float | None = None
    """The frame rate of its codec, if it streams whole frames; None: unknown, or stated in the model's config."""
    named_by_config: bool = False
    """mlx-audio recognizes it by the config's `model_type` alone; for others it also looks at the folder's name."""
    speakers_by_model: bool = False
    """Only the loaded model, not its folder, lists its voices."""


_KOKORO_LANGUAGES = {
    "en": "a",
    "en-us": "a",
    "en-gb": "b",
    "es": "e",
    "fr": "f",
    "hi": "h",
    "it": "i",
    "ja": "j",
    "pt": "p",
    "pt-br": "p",
    "zh": "z",
}
_QWEN3_LANGUAGES = {
    "zh": "chinese",
    "en": "english",
    "ja": "japanese",
    "ko": "korean",
    "de": "german",
    "fr": "french",
    "ru": "russian",
    "pt": "portuguese",
    "es": "spanish",
    "it": "italian",
}
_S3_TOKENIZER = "mlx-community/S3TokenizerV2"
_ORPHEUS = SynthesisFamily(
    preset=True, reference=True, reference_text=True, budget=True, streams=True, frames_per_second=137.5
)

SYNTHESIS_FAMILIES: Mapping[str, SynthesisFamily] = {
    "breeze_tts": SynthesisFamily(
        named_by_config=True,
        preset=True,
        reference=True,
        reference_text=True,
        instructed_voice=True,
        budget=True,
        streams=True,
    ),
    "chatterbox": SynthesisFamily(reference=True, reference_by=_S3_TOKENIZER),
    "chatterbox_turbo": SynthesisFamily(
        named_by_config=True, reference=True, reference_by=_S3_TOKENIZER, streams=True, frames_per_second=25
    ),
    "dia": SynthesisFamily(reference=True, reference_text=True, budget=True),
    "fish_qwen3_omni": SynthesisFamily(
        named_by_config=True, reference=True, reference_text=True, budget=True, streams=True
    ),
    "higgs_audio": SynthesisFamily(reference=True, reference_text=True, streams=True),
    "kitten_tts": SynthesisFamily(preset=True, speed=True),
    "kokoro": SynthesisFamily(preset=True, speed=True, languages=_KOKORO_LANGUAGES),
    "llama": _ORPHEUS,
    "longcat_audiodit": SynthesisFamily(reference=True, reference_text=True),
    "melotts": SynthesisFamily(named_by_config=True, preset=True, speed=True),
    "omnivoice": SynthesisFamily(named_by_config=True, reference=True, reference_text=True, design=True),
    "pocket_tts": SynthesisFamily(named_by_config=True, preset=True, reference=True, streams=True),
    "qwen3": _ORPHEUS,
    "sesame": SynthesisFamily(preset=True, reference=True, reference_text=True, streams=True, frames_per_second=12.5),
    "tada": SynthesisFamily(reference=True, reference_text=True, budget=True),
    "vibevoice": SynthesisFamily(preset=True, budget=True, streams=True),
    "voxtral_tts": SynthesisFamily(
        named_by_config=True, preset=True, budget=True, streams=True, frames_per_second=12.5
    ),
}
_QWEN3_TTS_ALL = SynthesisFamily(
    languages=_QWEN3_LANGUAGES,
    named_by_config=True,
    speakers_by_model=True,
    budget=True,
    streams=True,
    frames_per_second=12.5,
)
_QWEN3_TTS = {
    "base": replace(_QWEN3_TTS_ALL, reference=True, reference_text=True),
    "custom_voice": replace(_QWEN3_TTS_ALL, preset=True, instructed_voice=True),
    "voice_design": replace(_QWEN3_TTS_ALL, design=True),
}


def synthesis_family_of(name: str, model_type: str, keywords: frozenset[str]) -> SynthesisFamily:
    """The family with this mlx-audio name, or else one derived from `keywords`, the parameters of its `generate`.

    `model_type`: from the config, for a family that has several.
    """
    if name == "qwen3_tts":
        return _QWEN3_TTS.get(model_type, _QWEN3_TTS["base"])
    known = SYNTHESIS_FAMILIES.get(name)
    if known is not None:
        return known
    return SynthesisFamily(
        preset="voice" in keywords,
        reference="ref_audio" in keywords,
        reference_text="ref_text" in keywords,
        instructed_voice={"voice", "instruct"} <= keywords,
        design="instruct" in keywords,
        streams={"stream", "streaming_interval"} <= keywords,
    )


def check_synthesis(name: str, family: SynthesisFamily, synthesis: Synthesis, voices: frozenset[str] | None) -> None:
    """Refuses settings that the family would silently ignore. `voices`: its voices, or None when they are unknown.

    Raises VoxFleetError(INVALID_INPUT), which lists all problems.
    """
    problems = [*_mode_problems(name, family, synthesis), *_setting_problems(name, family, synthesis)]
    if synthesis.voice is not None:
        problems += _voice_problems(synthesis.voice, voices)
    if problems:
        raise VoxFleetError(FailureClass.INVALID_INPUT, "; ".join(problems))


def _mode_problems(name: str, family: SynthesisFamily, synthesis: Synthesis) -> Iterator[str]:
    mode = synthesis.mode
    by_reference = mode is SynthesisMode.CUSTOM_VOICE and synthesis.reference is not None
    supported = {
        SynthesisMode.PRESET: family.preset,
        SynthesisMode.CUSTOM_VOICE: family.reference if by_reference else family.instructed_voice,
        SynthesisMode.VOICE_DESIGN: family.design,
    }[mode]
    if not supported:
        how = "a recording" if by_reference else "a voice with an instruction"
        what = f"{mode} by {how}" if mode is SynthesisMode.CUSTOM_VOICE else str(mode)
        yield f"synthesis.mode: this {name} model does not do {what}; take another mode or model"
    elif by_reference and family.reference_by is not None:
        yield (
            f"synthesis.reference: a {name} model hears a recording with {family.reference_by}, which mlx-audio fetches"
            " from the hub and a lane cannot; take another model, such as pocket_tts or qwen3_tts"
        )
    if by_reference and synthesis.instruction is not None:
        yield f"synthesis.instruction: a {name} model takes none beside a reference; leave it out"


def _voice_problems(voice: str, voices: frozenset[str] | None) -> Iterator[str]:
    if _VOICE_NAME.fullmatch(voice) is None:
        yield "synthesis.voice: a voice's name has letters, digits, spaces, +, - and _ alone"
    elif voices is not None and voice.lower() not in voices:
        yield f"synthesis.voice: the model has no voice {voice}; it has {', '.join(sorted(voices)[:20])}"


def _setting_problems(name: str, family: SynthesisFamily, synthesis: Synthesis) -> Iterator[str]:
    if synthesis.speed_percent != 100 and not family.speed:
        yield f"synthesis.speedPercent: a {name} model cannot change its speed; write 100"
    if synthesis.language is not None and not family.languages:
        yield f"synthesis.language: a {name} model takes no language; leave it out"
    elif synthesis.language is not None:
        problem = language_problem("synthesis.language", name, synthesis.language, family.languages)
        yield from () if problem is None else (problem,)
    if synthesis.max_tokens is not None and not family.budget:
        yield f"synthesis.maxTokens: a {name} model has no token budget; leave it out"


def synthesis_settings(family: SynthesisFamily, synthesis: Synthesis, budget: int | None) -> dict[str, object]:
    """The keywords for the family's `generate`, except the reference's samples and streaming."""
    keywords: dict[str, object] = {}
    if synthesis.voice is not None:
        keywords["voice"] = synthesis.voice
    if synthesis.instruction is not None:
        keywords["instruct"] = synthesis.instruction
    if synthesis.reference is not None and family.reference_text:
        keywords["ref_text"] = synthesis.reference.text
    if synthesis.speed_percent != 100:
        keywords["speed"] = synthesis.speed_percent / 100
    if synthesis.language is not None:
        keywords["lang_code"] = told(synthesis.language, family.languages)
    if budget is not None:
        keywords["max_tokens"] = budget
    return keywords


@dataclass(frozen=True, slots=True)
class Interval:
    """The duration of the audio in a streamed chunk."""

    seconds: float
    """As passed to the family."""
    milliseconds: int
    """As reported."""


def rounded_interval(requested: str, frames_per_second: float | None) -> Interval:
    """Rounds to whole codec frames, at least one; without a known frame rate the interval stays as requested."""
    seconds = duration_milliseconds(requested) / 1000
    if frames_per_second is not None:
        seconds = max(1, round(seconds * frames_per_second)) / frames_per_second
    return Interval(seconds + _EPSILON_SECONDS, round(seconds * 1000))


def voices_in(folder: Path) -> frozenset[str] | None:
    """The names of the voices in lower case; None when the folder lists none."""
    files = [file for name in ("voices", "embeddings") for file in (folder / name).glob("*.safetensors")]
    return frozenset(file.stem.lower() for file in files) or None
