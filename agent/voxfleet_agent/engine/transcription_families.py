"""What each of mlx-audio's speech-to-text families takes and gives. Pure: no MLX.

Read from the pinned mlx-audio's source. Most families swallow settings that they do not know without a word, and some
return times that are none (the whole chunk, or how long the work took); here a family only has what it really does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.kinds.job_task import Transcription


class Stream(Enum):
    """What a family's streaming yields."""

    NONE = "none"
    TEXTS = "texts"  # str, each the next piece
    PIECES = "pieces"  # objects whose .text is the next piece
    HYPOTHESES = "hypotheses"  # objects whose .text is all of it so far, earlier words may change
    TOKENS = "tokens"  # objects whose .tokens are all so far; .text is cut from a changing text and of no use


@dataclass(frozen=True, slots=True)
class TranscriptionFamily:
    """How one family is asked, and what of its answer counts."""

    language: str | None = None
    """The keyword that takes the language; None: the family takes none."""
    languages: frozenset[str] | None = None
    """Those that it knows, where it takes others without a word."""
    budget: str | None = None
    """The keyword of the token budget; None: the family has none."""
    timestamps: Timestamps = Timestamps.NONE
    """The finest times of its texts."""
    word_settings: Mapping[str, object] = field(default_factory=dict)
    """Settings that make it give times of words."""
    float32: bool = False
    """It computes in bfloat16 unless told otherwise, and audio loses half of its bits."""
    listens_to_list: bool = False
    """It takes a list of clips, of which it transcribes one."""
    text_in_segments: bool = False
    """Its text holds times and speakers as markup; the words alone are in its segments."""
    stream: Stream = Stream.NONE
    stream_method: str = "generate"
    """`generate` with stream=True, or another method."""


_BUDGET = "max_tokens"

FAMILIES: Mapping[str, TranscriptionFamily] = {
    "canary": TranscriptionFamily(language="language", budget=_BUDGET, float32=True),
    "cohere_asr": TranscriptionFamily(language="language", budget=_BUDGET),
    "fireredasr2": TranscriptionFamily(),
    "fun_asr_nano": TranscriptionFamily(language="language", budget=_BUDGET),
    "glmasr": TranscriptionFamily(budget=_BUDGET, stream=Stream.PIECES, stream_method="stream_transcribe"),
    # Its `language` translates; `source_language` transcribes.
    "granite_speech": TranscriptionFamily(language="source_language", budget=_BUDGET, stream=Stream.PIECES),
    "granite_speech5_ctc": TranscriptionFamily(),
    "granite_speech_nar": TranscriptionFamily(),
    "higgs_audio_3": TranscriptionFamily(budget=_BUDGET),
    "mega_asr": TranscriptionFamily(
        language="language", budget=_BUDGET, stream=Stream.PIECES, stream_method="stream_transcribe"
    ),
    "mimo_v2_asr": TranscriptionFamily(language="language", budget=_BUDGET),
    "ming_v3_asr": TranscriptionFamily(language="language", budget=_BUDGET),
    "mms": TranscriptionFamily(),
    "moonshine": TranscriptionFamily(budget=_BUDGET),
    "moss_music": TranscriptionFamily(budget=_BUDGET, stream=Stream.PIECES),
    "moss_transcribe_diarize": TranscriptionFamily(
        budget=_BUDGET, timestamps=Timestamps.SEGMENT, text_in_segments=True, stream=Stream.PIECES
    ),
    "nemotron_asr": TranscriptionFamily(
        language="language", timestamps=Timestamps.WORD, stream=Stream.HYPOTHESES, stream_method="stream_generate"
    ),
    "parakeet": TranscriptionFamily(timestamps=Timestamps.WORD, float32=True, stream=Stream.TOKENS),
    "phonon": TranscriptionFamily(
        language="language", budget=_BUDGET, stream=Stream.PIECES, stream_method="stream_transcribe"
    ),
    "phonon2": TranscriptionFamily(timestamps=Timestamps.WORD, float32=True, stream=Stream.TOKENS),
    "qwen2_audio": TranscriptionFamily(budget=_BUDGET, stream=Stream.PIECES),
    "qwen3_asr": TranscriptionFamily(
        language="language", budget=_BUDGET, stream=Stream.PIECES, stream_method="stream_transcribe"
    ),
    "sensevoice": TranscriptionFamily(language="language", languages=frozenset({"zh", "en", "yue", "ja", "ko"})),
    "vibevoice_asr": TranscriptionFamily(
        budget=_BUDGET,
        timestamps=Timestamps.SEGMENT,
        text_in_segments=True,
        stream=Stream.TEXTS,
        stream_method="stream_transcribe",
    ),
    "voxtral": TranscriptionFamily(language="language", budget=_BUDGET, listens_to_list=True),
    "voxtral_realtime": TranscriptionFamily(budget=_BUDGET, stream=Stream.TEXTS),
    "whisper": TranscriptionFamily(
        language="language",
        budget="sample_len",
        timestamps=Timestamps.WORD,
        word_settings={"word_timestamps": True},
        stream=Stream.PIECES,
    ),
}


def family_of(name: str, keywords: frozenset[str]) -> TranscriptionFamily:
    """The family by mlx-audio's name, or one that `keywords`, those of its `generate`, tell."""
    known = FAMILIES.get(name)
    if known is not None:
        return known
    return TranscriptionFamily(
        language="language" if "language" in keywords else None, budget=_BUDGET if _BUDGET in keywords else None
    )


def check_settings(
    name: str, family: TranscriptionFamily, transcription: Transcription, timestamps: Timestamps
) -> None:
    """Refuses what the family would pass over without a word.

    Raises VoxFleetError with everything that is wrong: INVALID_INPUT when a setting of the job is, CONTRACT_VIOLATION
    when nothing but the times is that the family does not give.
    """
    problems = list(_setting_problems(name, family, transcription))
    failure_class = FailureClass.INVALID_INPUT if problems else FailureClass.CONTRACT_VIOLATION
    finest = list(Timestamps)
    if finest.index(timestamps) > finest.index(family.timestamps):
        problems.append(
            f"the contract asks for output.timestamps: {timestamps} and a {name} model gives {family.timestamps}; write"
            " what it gives, or take another model"
        )
    if problems:
        raise VoxFleetError(failure_class, "; ".join(problems))


def _setting_problems(name: str, family: TranscriptionFamily, transcription: Transcription) -> Iterator[str]:
    language = transcription.language
    if language is not None and family.language is None:
        yield f"transcription.language: a {name} model takes no language; leave it out"
    elif language is not None and family.languages is not None and language not in family.languages:
        known = ", ".join(sorted(family.languages))
        yield f"transcription.language: a {name} model knows {known} and not {language}"
    if transcription.max_tokens is not None and family.budget is None:
        yield f"transcription.maxTokens: a {name} model has no token budget; leave it out"


def settings(
    family: TranscriptionFamily, transcription: Transcription, timestamps: Timestamps, budget: int | None
) -> dict[str, object]:
    """Keywords of the family's `generate`. `budget`: None leaves the model's own."""
    keywords: dict[str, object] = {}
    if family.language is not None and transcription.language is not None:
        keywords[family.language] = transcription.language
    if family.budget is not None and budget is not None:
        keywords[family.budget] = budget
    if timestamps is Timestamps.WORD:
        keywords.update(family.word_settings)
    return keywords
