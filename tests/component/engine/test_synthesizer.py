"""A text-to-speech model through mlx-audio: pocket_tts, tiny."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest

from voxfleet_agent.engine.synthesizer import MlxSynthesizer
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_task import MAX_TEXT_CHARACTERS, Synthesis, SynthesisMode, VoiceReference

Samples = npt.NDArray[np.float32]
Tiny = Callable[[str], Path]
TEXT = "Good morning. Your parcel is ready at the counter, bring your card."
FRAME = 1920
"""Samples of a codec frame: 24 kHz at 12.5 frames a second."""
CLONED = Synthesis(
    mode=SynthesisMode.CUSTOM_VOICE, reference=VoiceReference(uri="file:///data/anna.wav", text="I am Anna.")
)


@pytest.fixture
def folder(tiny: Tiny) -> Path:
    return tiny("pocket_tts")


@pytest.fixture
def model(folder: Path) -> MlxSynthesizer:
    return MlxSynthesizer(folder, Synthesis(voice="anna", streaming_interval="200ms"))


def test_the_facts_of_the_model(model: MlxSynthesizer) -> None:
    model.warm_up()
    assert (model.family, model.sample_rate_hz, model.interval_milliseconds) == ("pocket_tts", 24_000, 160)
    assert model.parameters > 0


@pytest.mark.parametrize(("interval", "frames"), [("1ms", 1), ("200ms", 2), ("300ms", 4), ("2s", 25)])
def test_chunks_are_whole_frames_of_the_reported_interval(folder: Path, interval: str, frames: int) -> None:
    model = MlxSynthesizer(folder, Synthesis(voice="anna", streaming_interval=interval))
    lengths = [len(chunk) for chunk in model.synthesize(TEXT)]
    assert model.interval_milliseconds == frames * 80
    assert all(length == frames * FRAME for length in lengths[:-1])
    assert 0 < lengths[-1] <= frames * FRAME


def test_joined_chunks_are_what_is_spoken_without_streaming(folder: Path, model: MlxSynthesizer) -> None:
    mx.random.seed(0)
    whole = np.concatenate([np.array(part.audio) for part in model._generate(TEXT, voice="anna")])
    for interval in ("80ms", "200ms", "2s"):
        chunks = list(MlxSynthesizer(folder, Synthesis(voice="anna", streaming_interval=interval)).synthesize(TEXT))
        assert all(chunk.dtype == np.float32 and chunk.ndim == 1 and len(chunk) for chunk in chunks)
        assert np.array_equal(np.concatenate(chunks), whole)


def test_a_text_sounds_the_same_in_every_order(model: MlxSynthesizer) -> None:
    first, second = np.concatenate(list(model.synthesize(TEXT))), np.concatenate(list(model.synthesize("No.")))
    assert np.array_equal(np.concatenate(list(model.synthesize(TEXT))), first)
    assert not np.array_equal(first[: len(second)], second)


def test_a_recording_makes_another_voice(folder: Path, model: MlxSynthesizer) -> None:
    recording = np.sin(np.arange(24_000) / 20).astype(np.float32)
    cloned = np.concatenate(list(MlxSynthesizer(folder, CLONED, recording, 24_000).synthesize(TEXT)))
    other = np.concatenate(list(MlxSynthesizer(folder, CLONED, recording[::2].copy(), 24_000).synthesize(TEXT)))
    preset = np.concatenate(list(model.synthesize(TEXT)))
    assert not np.array_equal(cloned, preset) and not np.array_equal(cloned, other)


@pytest.mark.parametrize(
    ("synthesis", "rate_hz", "failure_class", "named"),
    [
        (CLONED, 16_000, FailureClass.CONTRACT_VIOLATION, "16000 Hz"),
        (CLONED, None, FailureClass.INVALID_INPUT, "synthesis.reference"),
        (Synthesis(voice="otto"), None, FailureClass.INVALID_INPUT, "it has anna"),
        (Synthesis(voice="anna", speed_percent=120), None, FailureClass.INVALID_INPUT, "speedPercent"),
        (
            Synthesis(mode=SynthesisMode.VOICE_DESIGN, instruction="An old sailor."),
            None,
            FailureClass.INVALID_INPUT,
            "VoiceDesign",
        ),
    ],
)
def test_what_the_model_cannot_do_fails_at_the_load(
    folder: Path, synthesis: Synthesis, rate_hz: int | None, failure_class: FailureClass, named: str
) -> None:
    reference = None if rate_hz is None else np.zeros(rate_hz, dtype=np.float32)
    with pytest.raises(VoxFleetError, match=named) as caught:
        MlxSynthesizer(folder, synthesis, reference, rate_hz or 0)
    assert caught.value.failure_class is failure_class


@pytest.mark.parametrize("text", ["", " \n", "a" * (MAX_TEXT_CHARACTERS + 1)])
def test_empty_and_endless_texts_are_refused_before_the_model_sees_them(model: MlxSynthesizer, text: str) -> None:
    with pytest.raises(VoxFleetError, match="characters") as caught:
        model.synthesize(text)
    assert caught.value.failure_class is FailureClass.CONTRACT_VIOLATION


def test_a_model_that_never_ends_a_text_is_told_by_the_length_of_its_audio(folder: Path, tmp_path: Path) -> None:
    endless = Path(shutil.copytree(folder, tmp_path / "endless"))
    config = json.loads((endless / "config.json").read_text())
    (endless / "config.json").write_text(json.dumps({**config, "eos_threshold": 1e9}))
    spoken: list[Samples] = []
    with pytest.raises(VoxFleetError, match="without an end") as caught:
        spoken.extend(MlxSynthesizer(endless, Synthesis(voice="anna")).synthesize("No."))
    assert caught.value.failure_class is FailureClass.TRUNCATED_OUTPUT
    assert sum(len(chunk) for chunk in spoken) == 37 * FRAME


# What other families stream: chunks as recorded, through the same code.


@dataclass
class Chunk:
    """As mlx-audio's GenerationResult, as far as it counts."""

    audio: mx.array
    sample_rate: int = 24_000
    segment_idx: int = 0
    token_count: int = 1
    is_final_chunk: bool = False


def streaming(model: MlxSynthesizer, *chunks: Chunk) -> Iterator[Samples]:
    model._generate = lambda text, **settings: iter(chunks)
    return model.synthesize(TEXT)


def noise(length: int, *shape: int) -> mx.array:
    return mx.random.normal((*shape, length))


def test_empty_chunks_are_dropped_and_the_final_mark_is_a_hint(model: MlxSynthesizer) -> None:
    audio = [noise(5), noise(0), noise(7), noise(3), noise(0)]
    chunks = [Chunk(part, is_final_chunk=number == 1) for number, part in enumerate(audio)]
    spoken = list(streaming(model, *chunks))
    assert [len(chunk) for chunk in spoken] == [5, 7, 3]
    assert np.array_equal(np.concatenate(spoken), np.concatenate([np.array(part) for part in audio]))


def test_half_precision_and_shaped_chunks_become_flat_float32(model: MlxSynthesizer) -> None:
    row, column = noise(4, 1).astype(mx.bfloat16), mx.random.normal((6, 1))
    spoken = list(streaming(model, Chunk(row), Chunk(column)))
    assert [chunk.shape for chunk in spoken] == [(4,), (6,)] and all(chunk.dtype == np.float32 for chunk in spoken)


@pytest.mark.parametrize(
    ("chunk", "named"),
    [
        (Chunk(mx.zeros(4), sample_rate=44_100), "24000 to 44100"),
        (Chunk(mx.array([0.0, float("nan")])), "not finite"),
        (Chunk(mx.zeros((2, 8))), "one channel"),
    ],
)
def test_other_rates_channels_and_nonsense_are_errors(model: MlxSynthesizer, chunk: Chunk, named: str) -> None:
    with pytest.raises(VoxFleetError, match=named) as caught:
        list(streaming(model, Chunk(noise(4)), chunk))
    assert caught.value.failure_class is FailureClass.INFERENCE_ERROR


def test_nothing_said_is_no_file(model: MlxSynthesizer) -> None:
    with pytest.raises(VoxFleetError, match="said nothing") as caught:
        list(streaming(model, Chunk(mx.zeros((0,)), is_final_chunk=True)))
    assert caught.value.failure_class is FailureClass.TRUNCATED_OUTPUT
