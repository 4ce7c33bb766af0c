"""Settings that a family has become its keywords; all others are refused."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from voxfleet_agent.engine.languages import known_languages
from voxfleet_agent.engine.transcription_families import (
    TRANSCRIPTION_FAMILIES,
    TranscriptionFamily,
    check_language,
    check_transcription,
    transcription_family_of,
    transcription_settings,
)
from voxfleet_agent.engine.transcripts import Transcript, budget_is_spent, read_output
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.kinds.job_task import Transcription
from voxfleet_api.rows import TimedText

TIMED = TranscriptionFamily(timestamps=Timestamps.WORD)


@pytest.mark.parametrize(
    ("name", "transcription", "timestamps", "failure_class", "named"),
    [
        ("parakeet", Transcription(language="en"), Timestamps.NONE, FailureClass.INVALID_INPUT, "language"),
        ("parakeet", Transcription(max_tokens=64), Timestamps.NONE, FailureClass.INVALID_INPUT, "maxTokens"),
        ("sensevoice", Transcription(language="de"), Timestamps.NONE, FailureClass.INVALID_INPUT, "en, ja"),
        ("whisper", Transcription(language="fr"), Timestamps.NONE, FailureClass.INVALID_INPUT, "en alone and not fr"),
        ("moonshine", Transcription(), Timestamps.SEGMENT, FailureClass.CONTRACT_VIOLATION, "timestamps: Segment"),
        ("vibevoice_asr", Transcription(), Timestamps.WORD, FailureClass.CONTRACT_VIOLATION, "gives Segment"),
    ],
)
def test_settings_that_a_family_lacks_are_refused(
    name: str, transcription: Transcription, timestamps: Timestamps, failure_class: FailureClass, named: str
) -> None:
    with pytest.raises(VoxFleetError) as caught:
        check_transcription(
            name, TRANSCRIPTION_FAMILIES[name], transcription, timestamps, known_languages(name, {"n_vocab": 51_864})
        )
    assert caught.value.failure_class is failure_class and named in caught.value.message


@pytest.mark.parametrize(
    ("name", "language", "told"),
    [
        ("parakeet", "en", "language: a parakeet model takes no language, and so not en"),
        ("sensevoice", "de", "language: this sensevoice model knows en, ja"),
        ("sensevoice", "Japanese", None),
        ("whisper", "fr", "language: this whisper model knows en alone and not fr"),
    ],
)
def test_the_language_of_a_session_is_refused_by_a_model_that_cannot_be_told(
    name: str, language: str, told: str | None
) -> None:
    languages = known_languages(name, {"n_vocab": 51_864})
    if told is None:
        check_language(name, TRANSCRIPTION_FAMILIES[name], language, languages)
        return
    with pytest.raises(VoxFleetError) as caught:
        check_language(name, TRANSCRIPTION_FAMILIES[name], language, languages)
    assert caught.value.failure_class is FailureClass.INVALID_INPUT and caught.value.message.startswith(told)


@pytest.mark.parametrize(
    ("name", "transcription", "timestamps", "budget", "keywords"),
    [
        ("parakeet", Transcription(), Timestamps.WORD, None, {}),
        ("sensevoice", Transcription(language="yue"), Timestamps.NONE, None, {"language": "yue"}),
        ("moonshine", Transcription(), Timestamps.NONE, 800, {"max_tokens": 800}),
        # its `language` would translate
        ("granite_speech", Transcription(language="de"), Timestamps.NONE, None, {"source_language": "de"}),
        ("qwen3_asr", Transcription(language="de"), Timestamps.NONE, None, {"language": "German"}),
        ("whisper", Transcription(language="EN"), Timestamps.NONE, None, {"language": "en"}),
        ("whisper", Transcription(), Timestamps.SEGMENT, 224, {"sample_len": 224}),
        ("whisper", Transcription(), Timestamps.WORD, None, {"word_timestamps": True}),
    ],
)
def test_settings_become_the_familys_keywords(
    name: str, transcription: Transcription, timestamps: Timestamps, budget: int | None, keywords: dict[str, object]
) -> None:
    family, languages = TRANSCRIPTION_FAMILIES[name], known_languages(name, {"n_vocab": 51_865})
    check_transcription(name, family, transcription, timestamps, languages)
    assert transcription_settings(family, transcription, timestamps, budget, languages) == keywords


def test_an_unknown_family_is_derived_from_its_keywords_and_has_no_times() -> None:
    family = transcription_family_of("new_one", frozenset({"audio", "max_tokens"}))
    assert family == TranscriptionFamily(budget="max_tokens")
    assert transcription_family_of("whisper", frozenset()) is TRANSCRIPTION_FAMILIES["whisper"]


@dataclass
class Output:
    """The parts of mlx-audio's STTOutput that are read."""

    text: str
    segments: list[dict[str, object]] | None = None
    language: object = None
    generation_tokens: int = 0


@dataclass
class Token:
    text: str
    start: float
    end: float


@dataclass
class Sentence:
    text: str
    start: float
    end: float
    tokens: list[Token]


@dataclass
class Aligned:
    """The parts of mlx-audio's AlignedResult that are read."""

    text: str
    sentences: list[Sentence] = field(default_factory=list)


def timed(text: str, start: int, end: int) -> TimedText:
    return TimedText(start_milliseconds=start, end_milliseconds=end, text=text)


def test_sentences_give_segments_and_words() -> None:
    tokens = [Token(" Hel", 0.04, 0.2), Token("lo", 0.2, 0.36), Token(" ", 0.36, 0.5), Token("you.", 0.5, 0.9)]
    output = Aligned("Hello you.", [Sentence(" Hello you.", 0.04, 0.9, tokens)])
    assert read_output(output, TIMED) == Transcript(
        "Hello you.", (timed("Hello you.", 40, 900),), (timed("Hello", 40, 360), timed("you.", 500, 900))
    )
    assert read_output(Aligned(""), TIMED) == Transcript("", (), ())


def test_segments_of_dicts_give_segments_and_words_where_there_are_any() -> None:
    words = [{"word": " One", "start": 0.1, "end": 0.3}, {"word": " two", "start": 0.3, "end": 0.5}]
    segment: dict[str, object] = {"text": " One two", "start": 0.1, "end": 0.5}
    output = Output(
        " One two", [{**segment, "words": words}, {"text": "", "start": 0.5, "end": 0.5, "words": []}], "en"
    )
    both = Transcript(
        "One two", (timed("One two", 100, 500),), (timed("One", 100, 300), timed("two", 300, 500)), language="en"
    )
    assert read_output(output, TIMED) == both
    assert read_output(Output("One two", [segment]), TIMED) == Transcript("One two", both.segments)


def test_meaningless_times_are_dropped() -> None:
    processing = Output("one", [{"text": "one", "start": 0.0, "end": 1.7}])  # some families return the processing time
    assert read_output(processing, TranscriptionFamily()).segments is None
    assert read_output(Output("one", [{"text": "one"}]), TIMED).segments is None


def test_a_word_of_one_frame_has_a_time() -> None:
    """Parakeet gives a token the duration that it predicts, which may be none."""
    output = Aligned("Yeah", [Sentence(" Yeah", 1.2, 1.2, [Token(" Yeah", 1.2, 1.2)])])
    only = (timed("Yeah", 1200, 1460),)
    assert read_output(output, TIMED) == Transcript("Yeah", only, only)


def test_text_with_markup_is_replaced_by_the_words_in_segments() -> None:
    family = TRANSCRIPTION_FAMILIES["vibevoice_asr"]
    output = Output('[{"Start": 0}]', [{"text": "one", "start": 0, "end": 1}, {"text": "two", "start": 1, "end": 2}])
    assert read_output(output, family).text == "one two"


@pytest.mark.parametrize(
    ("language", "read"),
    [
        ("en", "en"),
        (["en", "en"], "en"),
        (["en", "de"], None),
        ([], None),
        ("unknown", None),
        ("English", "en"),
        ("auto", None),
    ],
)
def test_the_language_is_one_or_none(language: object, read: str | None) -> None:
    assert read_output(Output("x", language=language), TranscriptionFamily()).language == read


def test_a_str_is_a_transcript_and_other_types_are_refused() -> None:
    assert read_output(" one ", TranscriptionFamily()) == Transcript("one")
    with pytest.raises(TypeError, match="returned int"):
        read_output(7, TranscriptionFamily())


@pytest.mark.parametrize(
    ("output", "spent"),
    [
        (Output("x", generation_tokens=199), False),
        (Output("x", generation_tokens=200), True),
        (Output("x", [{"tokens": [1] * 199}, {"tokens": [1]}]), False),
        (Output("x", [{"tokens": [1]}, {"tokens": [1] * 200}]), True),
        ("x", False),
    ],
)
def test_a_spent_budget_is_seen(output: object, spent: bool) -> None:
    assert budget_is_spent(output, 200) is spent
