"""Sounds, each with a transcript that counts as correct, and what the two detectors of speech hear in them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import mlx_audio_io  # type: ignore[import-untyped] # it ships no types
import numpy as np
import numpy.typing as npt

from make_clips import make_random_clips
from voxfleet_accuracy.recordings import (
    Recording,
    cards,
    commands,
    kennedy,
    librivox,
    loudspeakers,
    music,
    noises,
    prompts,
    without_texts,
)
from voxfleet_agent.engine.transcriber import MlxTranscriber
from voxfleet_agent.engine.transcripts import Transcript
from voxfleet_agent.models.store import builtin_model_folder
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.kinds.job_model import BuiltinName
from voxfleet_api.kinds.job_task import Transcription
from voxfleet_api.rows import TimedText
from voxfleet_hearing.detectors import RATE_HZ, Detectors, Mask

Samples = npt.NDArray[np.float32]

_STRETCH_SECONDS = 30
_PROMPTS_STEP = 10
"""Every tenth of the prompts of a telephone system is taken."""
_SEED = 11


@dataclass(frozen=True, slots=True)
class Case:
    """A sound at RATE_HZ, a transcript of it that counts as correct, and where each detector hears speech."""

    name: str
    samples: Samples
    transcript: Transcript
    cheap: Mask
    silero: Mask


def espeak_cases(count: int, detectors: Detectors) -> Iterator[Case]:
    """Random clips of espeak-ng that the built-in model transcribes without an error."""
    model = MlxTranscriber(builtin_model_folder(BuiltinName.COMMANDS), Transcription(), Timestamps.WORD)
    with tempfile.TemporaryDirectory(prefix="hearing-") as folder:
        for clip in make_random_clips(Path(folder), count, seed=_SEED, rate_hz=RATE_HZ, container="wav"):
            samples, stored_hz = mlx_audio_io.load(str(clip.path), mono=True, mono_mode="mean", squeeze_mono=True)
            case = _transcribed(model, Recording(clip.text, np.asarray(samples), stored_hz, clip.text), detectors)
            if case.transcript.text == clip.text:
                yield case


def people() -> list[Recording]:
    """Lines of a novel, a speech, cards, commands, loudspeakers, sentences, a conversation, French and Spanish."""
    return [*librivox(), *cards(), *commands(), *loudspeakers(), kennedy(), *without_texts()]


def telephone_prompts() -> list[Recording]:
    return prompts()[::_PROMPTS_STEP]


def spoken_cases(model_folder: Path, recordings: Iterable[Recording], detectors: Detectors) -> Iterator[Case]:
    """What the model writes counts as correct."""
    model = MlxTranscriber(model_folder, Transcription(), Timestamps.WORD)
    for recording in recordings:
        yield _transcribed(model, recording, detectors)


def soundless_cases(detectors: Detectors) -> Iterator[Case]:
    """Music in stretches, and noises: an empty transcript is correct."""
    for recording in [*music(), *noises()]:
        samples = _at_rate(recording)
        step = _STRETCH_SECONDS * RATE_HZ
        for start in range(0, max(1, len(samples) - step + 1), step):
            stretch = samples[start : start + step]
            name = f"{recording.name} {start // RATE_HZ} s"
            yield Case(name, stretch, Transcript(""), detectors.cheap(stretch), detectors.silero(stretch))


def half(transcript: Transcript) -> Transcript | None:
    """The first half of the words, in one segment; None for fewer than two words."""
    words = (transcript.words or ())[: len(transcript.words or ()) // 2]
    if not words:
        return None
    text = " ".join(word.text for word in words)
    segment = TimedText(
        start_milliseconds=words[0].start_milliseconds, end_milliseconds=words[-1].end_milliseconds, text=text
    )
    return replace(transcript, text=text, words=words, segments=(segment,))


def _transcribed(model: MlxTranscriber, recording: Recording, detectors: Detectors) -> Case:
    samples = _at_rate(recording)
    (transcript,) = model.transcribe([samples])
    return Case(recording.name, samples, transcript, detectors.cheap(samples), detectors.silero(samples))


def _at_rate(recording: Recording) -> Samples:
    """(N,) float32, resampled as the agent does."""
    samples = recording.samples
    if recording.rate_hz != RATE_HZ:
        samples = mlx_audio_io.resample(samples, recording.rate_hz, RATE_HZ, quality="soxr_vhq")
    return np.asarray(samples, np.float32).reshape(-1)
