"""What each of mlx-audio's speech-to-text families accepts and returns. Pure: no MLX.

The table follows the source of the pinned mlx-audio. Most families silently ignore unknown settings, and some return
times that are meaningless (the whole chunk, or the processing time); the table lists only what a family really does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from voxfleet_agent.engine.languages import Known, language_problem, told
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.kinds.job_task import Transcription


@dataclass(frozen=True, slots=True)
class TranscriptionFamily:
    """The settings of one family, and which parts of its output are meaningful."""

    language: str | None = None
    """The keyword for the language; None: the family accepts none."""
    budget: str | None = None
    """The keyword for the token budget; None: the family has none."""
    timestamps: Timestamps = Timestamps.NONE
    """The finest timestamps that it returns."""
    word_settings: Mapping[str, object] = field(default_factory=dict)
    """The settings that make it return word timestamps."""
    enlarged_settings: Mapping[str, object] = field(default_factory=dict)
    """The settings that leave its room to a token budget that is enlarged, or larger than half of a context."""
    float32: bool = False
    """It computes in bfloat16 by default, which costs audio half of its bits; request float32."""
    float16: str | None = None
    """The keyword that says whether it computes in float16, which it otherwise takes for granted."""
    takes_list: bool = False
    """It takes a list of clips but transcribes only one."""
    text_in_segments: bool = False
    """Its text contains times and speakers as markup; its segments contain only the words."""


_BUDGET = "max_tokens"

TRANSCRIPTION_FAMILIES: Mapping[str, TranscriptionFamily] = {
    "canary": TranscriptionFamily(language="language", budget=_BUDGET, float32=True),
    "cohere_asr": TranscriptionFamily(language="language", budget=_BUDGET),
    "fireredasr2": TranscriptionFamily(),
    "fun_asr_nano": TranscriptionFamily(language="language", budget=_BUDGET),
    "glmasr": TranscriptionFamily(budget=_BUDGET),
    # Its `language` translates; `source_language` transcribes.
    "granite_speech": TranscriptionFamily(language="source_language", budget=_BUDGET),
    "granite_speech5_ctc": TranscriptionFamily(),
    "granite_speech_nar": TranscriptionFamily(),
    "higgs_audio_3": TranscriptionFamily(budget=_BUDGET),
    "mega_asr": TranscriptionFamily(language="language", budget=_BUDGET),
    "mimo_v2_asr": TranscriptionFamily(language="language", budget=_BUDGET),
    "ming_v3_asr": TranscriptionFamily(language="language", budget=_BUDGET),
    "mms": TranscriptionFamily(),
    "moonshine": TranscriptionFamily(budget=_BUDGET),
    "moss_music": TranscriptionFamily(budget=_BUDGET),
    "moss_transcribe_diarize": TranscriptionFamily(
        budget=_BUDGET, timestamps=Timestamps.SEGMENT, text_in_segments=True
    ),
    "nemotron_asr": TranscriptionFamily(language="language", timestamps=Timestamps.WORD),
    "parakeet": TranscriptionFamily(timestamps=Timestamps.WORD, float32=True),
    "phonon": TranscriptionFamily(language="language", budget=_BUDGET),
    "phonon2": TranscriptionFamily(timestamps=Timestamps.WORD, float32=True),
    "qwen2_audio": TranscriptionFamily(budget=_BUDGET),
    "qwen3_asr": TranscriptionFamily(language="language", budget=_BUDGET),
    "sensevoice": TranscriptionFamily(language="language"),
    "vibevoice_asr": TranscriptionFamily(
        budget=_BUDGET,
        timestamps=Timestamps.SEGMENT,
        text_in_segments=True,
    ),
    "voxtral": TranscriptionFamily(language="language", budget=_BUDGET, takes_list=True),
    "voxtral_realtime": TranscriptionFamily(budget=_BUDGET),
    "whisper": TranscriptionFamily(
        language="language",
        budget="sample_len",
        float16="fp16",
        timestamps=Timestamps.WORD,
        word_settings={"word_timestamps": True},
        # The text of the windows before would take half of the context.
        enlarged_settings={"condition_on_previous_text": False},
    ),
}


def transcription_family_of(name: str, keywords: frozenset[str]) -> TranscriptionFamily:
    """The family with this mlx-audio name, or else one derived from `keywords`, the parameters of its `generate`."""
    known = TRANSCRIPTION_FAMILIES.get(name)
    if known is not None:
        return known
    return TranscriptionFamily(
        language="language" if "language" in keywords else None, budget=_BUDGET if _BUDGET in keywords else None
    )


def check_transcription(
    name: str,
    family: TranscriptionFamily,
    transcription: Transcription,
    timestamps: Timestamps,
    languages: Known | None = None,
) -> None:
    """Refuses settings that the family would silently ignore. `languages`: those that the model knows; None: unknown.

    Raises VoxFleetError, which lists all problems: INVALID_INPUT when the family lacks a setting of the job,
    CONTRACT_VIOLATION when it lacks only the contract's timestamps.
    """
    problems = list(_setting_problems(name, family, transcription, languages))
    failure_class = FailureClass.INVALID_INPUT if problems else FailureClass.CONTRACT_VIOLATION
    ranks = list(Timestamps)
    if ranks.index(timestamps) > ranks.index(family.timestamps):
        problems.append(
            f"the contract asks for output.timestamps: {timestamps} and a {name} model gives {family.timestamps}; write"
            " what it gives, or take another model"
        )
    if problems:
        raise VoxFleetError(failure_class, "; ".join(problems))


def check_language(name: str, family: TranscriptionFamily, language: str, languages: Known | None) -> None:
    """Refuses the language of a session that the model cannot be told. Raises VoxFleetError(INVALID_INPUT)."""
    if family.language is None:
        problem: str | None = f"language: a {name} model takes no language, and so not {language}; leave it out"
    else:
        problem = language_problem("language", name, language, languages)
    if problem is not None:
        raise VoxFleetError(FailureClass.INVALID_INPUT, problem)


def _setting_problems(
    name: str, family: TranscriptionFamily, transcription: Transcription, languages: Known | None
) -> Iterator[str]:
    language = transcription.language
    if language is not None and family.language is None:
        yield f"transcription.language: a {name} model takes no language; leave it out"
    elif language is not None:
        problem = language_problem("transcription.language", name, language, languages)
        yield from () if problem is None else (problem,)
    if transcription.max_tokens is not None and family.budget is None:
        yield f"transcription.maxTokens: a {name} model has no token budget; leave it out"


def transcription_settings(
    family: TranscriptionFamily,
    transcription: Transcription,
    timestamps: Timestamps,
    budget: int | None,
    languages: Known | None = None,
) -> dict[str, object]:
    """The keywords for the family's `generate`. `budget`: None keeps the model's own. `languages`: as it knows them."""
    keywords: dict[str, object] = {}
    if family.language is not None and transcription.language is not None:
        keywords[family.language] = told(transcription.language, languages)
    if family.budget is not None and budget is not None:
        keywords[family.budget] = budget
    if timestamps is Timestamps.WORD:
        keywords.update(family.word_settings)
    return keywords
