"""Speech-to-text models through mlx-audio: the default, and tiny ones of other families."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from mlx_audio.stt.models.base import STTOutput  # type: ignore[import-untyped] # it ships no types

from voxfleet_agent.engine.ctc_batches import bucket_frames, collapse
from voxfleet_agent.engine.transcriber import MlxTranscriber
from voxfleet_agent.engine.transcription_families import TRANSCRIPTION_FAMILIES
from voxfleet_agent.engine.transcripts import Transcript, read_output
from voxfleet_agent.models.store import builtin_model_folder
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.kinds.job_model import BuiltinName
from voxfleet_api.kinds.job_task import Transcription
from voxfleet_api.rows import TimedText

Samples = npt.NDArray[np.float32]
Examples = dict[str, tuple[Samples, str]]
Tiny = Callable[[str], Path]
EXACT = ("parakeet", "granite_speech5_ctc")
ONE_BY_ONE = ("sensevoice", "moonshine")


def load(folder: Path, timestamps: Timestamps = Timestamps.NONE, **settings: object) -> MlxTranscriber:
    return MlxTranscriber(folder, Transcription.model_validate(settings), timestamps)


@pytest.fixture(scope="module")
def model_of(tiny: Tiny, default_model: MlxTranscriber) -> Callable[[str], MlxTranscriber]:
    def model(family: str) -> MlxTranscriber:
        if family == "parakeet":
            return default_model
        # A moonshine model with random weights never stops by itself.
        return load(tiny(family), max_tokens=16) if family == "moonshine" else load(tiny(family))

    return model


@pytest.fixture(scope="module")
def transcripts(default_model: MlxTranscriber, examples: Examples) -> dict[str, Transcript]:
    """The built-in model's transcripts, one clip at a time."""
    return {name: default_model.transcribe([samples])[0] for name, (samples, _) in examples.items()}


def test_the_default_model_transcribes_every_example(transcripts: dict[str, Transcript], examples: Examples) -> None:
    texts = {name: transcript.text for name, transcript in transcripts.items()}
    assert texts == {name: text for name, (_, text) in examples.items()} and len(texts) == 32


def test_the_default_model_returns_the_times_of_each_word(
    transcripts: dict[str, Transcript], examples: Examples
) -> None:
    for name, (samples, text) in examples.items():
        words = transcripts[name].words
        assert words is not None and " ".join(word.text for word in words) == text
        assert [segment.text for segment in transcripts[name].segments or ()] == [text]
        ends = [0, *(word.end_milliseconds for word in words)]
        assert all(
            end <= word.start_milliseconds < word.end_milliseconds for end, word in zip(ends, words, strict=False)
        )
        assert ends[-1] <= len(samples) / 16 + 40


def test_the_facts_of_the_default_model(default_model: MlxTranscriber) -> None:
    facts = (default_model.family, default_model.sample_rate_hz, default_model.batches, default_model.parameters)
    assert facts == ("parakeet", 16_000, True, 958_376)


@pytest.mark.parametrize("family", [*EXACT, *ONE_BY_ONE])
def test_a_batch_gives_exactly_the_texts_and_times_of_one_clip_at_a_time(
    model_of: Callable[[str], MlxTranscriber], family: str, examples: Examples, transcripts: dict[str, Transcript]
) -> None:
    model = model_of(family)
    clips = [samples for samples, _ in examples.values()][: None if family in EXACT else 6]
    single = [*transcripts.values()] if family == "parakeet" else [model.transcribe([clip])[0] for clip in clips]
    assert model.batches is (family in EXACT)
    assert model.transcribe(clips) == single
    order = sorted(range(len(clips)), key=lambda index: (index * 7) % len(clips))
    batches = [order[start : start + 5] for start in range(0, len(order), 5)]
    for batch in batches:
        assert model.transcribe([clips[index] for index in batch]) == [single[index] for index in batch]
    assert family == "moonshine" or len({transcript.text for transcript in single}) > 2  # not all the same text


@pytest.mark.parametrize("family", EXACT)
def test_a_batch_gives_the_results_of_mlx_audio(
    model_of: Callable[[str], MlxTranscriber], family: str, examples: Examples
) -> None:
    model = model_of(family)
    settings = {"dtype": mx.float32} if family == "parakeet" else {}
    clips = [samples for samples, _ in examples.values()]
    expected = [
        read_output(model._generate(mx.array(clip), **settings), TRANSCRIPTION_FAMILIES[family]) for clip in clips
    ]
    assert model.transcribe(clips) == expected


def test_padding_comes_in_few_lengths() -> None:
    lengths = {bucket_frames(frames) for frames in range(1, 6001)}
    assert len(lengths) <= 16 * 6 + 16
    assert all(frames <= bucket_frames(frames) <= max(frames * 17 / 16, frames + 16) for frames in range(1, 6001))


@pytest.mark.parametrize(
    ("path", "tokens"),
    [
        ([], []),
        ([9, 9], []),
        ([9, 1, 1, 9, 2, 9], [(1, 1, 4), (2, 4, 6)]),  # a single frame lasts to the end
        ([1, 9, 1, 9], [(1, 0, 3)]),  # a blank does not separate equal tokens here
        ([1, 9, 0, 9, 1, 1, 9], [(1, 0, 2), (0, 2, 4), (1, 4, 6)]),
    ],
)
def test_collapse(path: list[int], tokens: list[tuple[int, int, int]]) -> None:
    assert [(emission.token, emission.start, emission.end) for emission in collapse(path, blank=9)] == tokens


def test_a_model_without_masks_is_not_batched(tmp_path: Path, examples: Examples) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    config = json.loads((builtin_model_folder(BuiltinName.COMMANDS) / "config.json").read_text())
    config["encoder"]["mask_padding"] = False
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").symlink_to(builtin_model_folder(BuiltinName.COMMANDS) / "model.safetensors")
    model = load(folder, Timestamps.WORD)
    assert not model.batches
    samples, text = next(iter(examples.values()))
    assert model.transcribe([samples, samples])[1].text == text


def test_a_spent_token_budget_is_reported_and_a_larger_one_is_used(tiny: Tiny, examples: Examples) -> None:
    clip = next(iter(examples.values()))[0]
    model = load(tiny("moonshine"), max_tokens=16)
    first, second = model.transcribe([clip])[0], model.transcribe([clip], enlarged=True)[0]
    assert first.token_limit_reached
    assert len(second.text) > len(first.text)


def test_a_model_gives_the_same_result_on_every_run_and_in_any_order(tiny: Tiny, examples: Examples) -> None:
    model = load(tiny("sensevoice"))
    clips = [samples for samples, _ in list(examples.values())[:4]]
    forwards = [model.transcribe([clip])[0] for clip in clips]
    mx.random.seed(99)
    assert [model.transcribe([clip])[0] for clip in reversed(clips)] == forwards[::-1]


def test_a_budget_beyond_half_of_the_context_has_its_room_at_the_first_try(tiny: Tiny) -> None:
    """The text of the window before would take it, and the model would work twice."""
    for tokens, alone in ((None, False), (224, False), (225, True)):
        settings = load(tiny("whisper"), max_tokens=tokens)._settings(enlarged=False)
        assert (settings.get("condition_on_previous_text") is False) is alone


def test_settings_that_the_model_does_not_have_fail_at_the_load(tiny: Tiny) -> None:
    for settings, named in (
        ({"language": "en"}, "transcription.language"),
        ({"max_tokens": 64}, "transcription.maxTokens"),
    ):
        with pytest.raises(VoxFleetError, match=named) as caught:
            load(builtin_model_folder(BuiltinName.COMMANDS), **settings)
        assert caught.value.failure_class is FailureClass.INVALID_INPUT
    with pytest.raises(VoxFleetError, match="timestamps: Word") as caught:
        load(tiny("sensevoice"), Timestamps.WORD)
    assert caught.value.failure_class is FailureClass.CONTRACT_VIOLATION


def test_a_language_reaches_the_model(tiny: Tiny, examples: Examples) -> None:
    clip = next(iter(examples.values()))[0]
    transcripts = {
        load(tiny("sensevoice"), language=language).transcribe([clip])[0].text for language in ("en", "ja", "zh")
    }
    assert len(transcripts) > 1


def test_each_session_has_its_own_language_and_the_lane_keeps_its_own(tiny: Tiny, examples: Examples) -> None:
    clip, _ = next(iter(examples.values()))
    lane = load(tiny("sensevoice"), language="en")
    alone = {
        language: load(tiny("sensevoice"), language=language).transcribe([clip])[0].text for language in ("en", "zh")
    }
    session = lane.in_language("Chinese")
    texts = [model.transcribe([clip])[0].text for model in (lane, session, lane)]
    assert texts == [alone["en"], alone["zh"], alone["en"]] and len(set(alone.values())) == 2
    assert lane.in_language("English") is lane
    with pytest.raises(VoxFleetError, match="language: this sensevoice model knows"):
        lane.in_language("de")


def test_whisper_is_told_a_language_it_knows_and_attests_it(tiny: Tiny) -> None:
    silence = np.zeros(8_000, np.float32)
    assert load(tiny("whisper"), language="English", max_tokens=16).transcribe([silence])[0].language == "en"
    with pytest.raises(VoxFleetError, match=r"transcription\.language: this whisper model knows en alone and not fr"):
        load(tiny("whisper"), language="fr")


def test_the_name_of_the_folder_does_not_choose_the_family(tiny: Tiny, tmp_path: Path) -> None:
    """mlx-audio searches it for names of families when it does not know the config's."""
    folder = tmp_path / "moonshine-mms-large"
    folder.symlink_to(tiny("granite_speech5_ctc"), target_is_directory=True)
    assert load(folder).family == "granite_speech5_ctc"


@pytest.mark.parametrize("clip", [np.zeros(16_000), np.full(16_000, np.nan), np.full(16_000, 1e30)])
def test_silence_and_nonsense_are_no_text_and_no_error(default_model: MlxTranscriber, clip: Samples) -> None:
    assert default_model.transcribe([clip.astype(np.float32)])[0] == Transcript("", (), ())


def test_the_shortest_of_clips_are_no_text_beside_others(default_model: MlxTranscriber, examples: Examples) -> None:
    samples, text = next(iter(examples.values()))
    transcripts = default_model.transcribe([samples[:0], samples, samples[:319]])
    assert [transcript.text for transcript in transcripts] == ["", text, ""]


def test_whispers_written_times_are_read_with_its_own_tokens(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(tiny("whisper"), Timestamps.WORD)
    begin = model._model.get_tokenizer().timestamp_begin
    apart = {"text": " one", "seek": 100, "start": 9.0, "end": 9.5, "tokens": [begin, 7, begin + 100]}
    output = STTOutput("one", [{**apart, "words": [{"word": " one", "start": 9.0, "end": 9.5}]}])
    monkeypatch.setattr(model, "_generate", lambda audio, **settings: output)
    (transcript,) = model.transcribe([np.zeros(16_000, np.float32)])
    assert transcript.words == (TimedText(start_milliseconds=1000, end_milliseconds=3000, text="one"),)


def test_a_clip_that_is_left_alone_for_another_comes_out_as_without_it(tiny: Tiny) -> None:
    """With random weights every window comes out badly and is tried again with random choices."""
    model = load(tiny("whisper"), max_tokens=16)
    noise = np.random.default_rng(0).normal(0, 0.1, 35 * 16_000).astype(np.float32)
    other = noise[:16_000]
    (alone,), (other_alone,) = model.transcribe([noise]), model.transcribe([other])
    told: list[int] = []
    others: list[Transcript] = []

    def leave_alone(milliseconds: int) -> None:
        told.append(milliseconds)
        others.extend(model.transcribe([other]))

    assert model.transcribe([noise], heard=leave_alone) == [alone]
    assert len(told) >= 2 and set(others) == {other_alone}
