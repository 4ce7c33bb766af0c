"""A loaded speech-to-text model, through mlx-audio."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Protocol

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx_audio.stt import load  # type: ignore[import-untyped] # it ships no types

from voxfleet_agent.engine.compute_dtype import FLOAT16
from voxfleet_agent.engine.ctc_batches import exact_batches
from voxfleet_agent.engine.languages import code_of, known_languages
from voxfleet_agent.engine.mlx_memory import count_parameters
from voxfleet_agent.engine.model_loading import dtype_of, family_of, load_model
from voxfleet_agent.engine.native_stream import NativeStream
from voxfleet_agent.engine.random_choices import RandomChoices
from voxfleet_agent.engine.token_budget import TokenBudget
from voxfleet_agent.engine.transcription_families import (
    check_language,
    check_transcription,
    transcription_family_of,
    transcription_settings,
)
from voxfleet_agent.engine.transcripts import Transcript, budget_is_spent, read_output
from voxfleet_agent.engine.whisper_progress import Heard, WhisperProgress
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.contract_output import Timestamps
from voxfleet_api.kinds.job_task import Transcription

SEED = 0
"""The random seed, set before each clip: a model that samples must give the same result in any order and any run."""

_SHORTEST_MILLISECONDS = 30
"""Shorter audio, such as the end of a last window, contains no word, and the frontends of many models fail on it."""
_DEFAULT_RATE_HZ = 16_000
_WARM_UP_SECONDS = 1


class _Generate(Protocol):
    def __call__(self, audio: object, **settings: object) -> object: ...


class MlxTranscriber:
    """One loaded model. Load and use it on one thread: MLX streams belong to the thread that created them."""

    def __init__(self, folder: Path, transcription: Transcription, timestamps: Timestamps) -> None:
        """Loads the model.

        Raises VoxFleetError: INVALID_INPUT for settings and CONTRACT_VIOLATION for times that the model does not have,
        MODEL_UNAVAILABLE for a model that does not transcribe; and whatever the model's own code raises.
        """
        self._model = load_model(load, folder)
        self.family = family_of(self._model)
        self.dtype = dtype_of(self._model)
        """The types of its weights, in which it computes."""
        self._generate: _Generate = _generate_method(self._model, self.family)
        parameters = inspect.signature(self._generate).parameters
        self._family = transcription_family_of(self.family, frozenset(parameters))
        self._languages = known_languages(self.family, _config(folder))
        check_transcription(self.family, self._family, transcription, timestamps, self._languages)
        self._transcription = transcription
        self._timestamps = timestamps
        own = parameters.get(self._family.budget or "")
        context = getattr(getattr(self._model, "dims", None), "n_text_ctx", None)
        self._budget = _token_budget(own.default if own is not None else None, context, transcription.max_tokens)
        self._exact = exact_batches(self._model, self.family)
        self.batches = self._exact is not None
        """Whether several clips go through the model together, with exactly the results of one at a time."""
        self.sample_rate_hz = _rate_hz(self._model)
        self._shortest_frames = self.sample_rate_hz * _SHORTEST_MILLISECONDS // 1000
        times = () if self._family.timestamps is not Timestamps.NONE else None
        self._empty = Transcript("", times, times)
        self.parameters = count_parameters(self._model.parameters())
        self._progress = WhisperProgress(self._model) if self.family == "whisper" else None
        self.tells_progress = self._progress is not None
        """Whether `transcribe` calls `heard` about once for each 30 s of audio, and once for a shorter clip."""

    def warm_up(self) -> None:
        """Runs the model once, so that the first clip does not pay for compilation."""
        self.transcribe([np.zeros(_WARM_UP_SECONDS * self.sample_rate_hz, dtype=np.float32)])

    def transcribe(
        self, clips: Sequence[npt.NDArray[np.float32]], *, enlarged: bool = False, heard: Heard | None = None
    ) -> list[Transcript]:
        """One transcript per clip of float32 samples (N,) at `sample_rate_hz`.

        `enlarged`: with a larger token budget. `heard` learns of the progress inside each clip from a model that tells
        it, and may have the model transcribe other clips before it goes on with this one. Raises whatever the model's
        own code raises.
        """
        long_enough = [clip for clip in clips if len(clip) >= self._shortest_frames]
        if self._exact is not None:
            transcripts = iter(self._exact.transcribe(long_enough) if long_enough else ())
        else:
            transcripts = iter([self._transcribe(clip, enlarged, heard) for clip in long_enough])
        return [next(transcripts) if len(clip) >= self._shortest_frames else self._empty for clip in clips]

    def in_language(self, language: str) -> MlxTranscriber:
        """This model as it hears a language, a code or a name, of one session; all else is shared.

        Raises VoxFleetError(INVALID_INPUT) for a language that it cannot be told.
        """
        own = self._transcription.language
        if own is not None and code_of(own) == code_of(language):
            return self
        check_language(self.family, self._family, language, self._languages)
        other = copy.copy(self)
        other._transcription = self._transcription.model_copy(update={"language": language})
        return other

    def open_stream(self) -> NativeStream | None:
        """A turn that is heard as it is spoken; None: the family cannot. Raises what the model's own code raises."""
        create = getattr(self._model, "create_streaming_session", None)
        if create is None:
            return None
        settings = self._settings(enlarged=False)
        taken = inspect.signature(create).parameters
        return NativeStream(create(**{name: value for name, value in settings.items() if name in taken}))

    def _transcribe(self, clip: npt.NDArray[np.float32], enlarged: bool, heard: Heard | None) -> Transcript:
        progress = nullcontext() if self._progress is None else self._progress.told(heard)
        with RandomChoices(SEED).drawn(), progress:
            output = self._generate(self._audio(clip), **self._settings(enlarged))
        spent_from = self._budget.spent_from(enlarged)
        timestamp_begin = None if self._progress is None else self._progress.timestamp_begin
        transcript = read_output(output, self._family, timestamp_begin)
        if spent_from is None:
            return transcript
        return transcript.marked(budget_is_spent(output, spent_from), self._budget.note(enlarged))

    def _audio(self, clip: npt.NDArray[np.float32]) -> object:
        samples = mx.array(clip)
        return [samples] if self._family.takes_list else samples

    def _settings(self, enlarged: bool) -> dict[str, object]:
        budget = self._budget.granted(enlarged)
        keywords = transcription_settings(self._family, self._transcription, self._timestamps, budget, self._languages)
        if self._budget.needs_all(enlarged):
            keywords.update(self._family.enlarged_settings)
        if self._family.float32:
            keywords["dtype"] = mx.float32
        if self._family.float16 is not None:
            keywords[self._family.float16] = self.dtype == FLOAT16
        return keywords


def _generate_method(model: object, family: str) -> _Generate:
    generate = getattr(model, "generate", None)
    needs_text = callable(generate) and "text" in inspect.signature(generate).parameters
    if generate is None or needs_text:
        raise VoxFleetError(
            FailureClass.MODEL_UNAVAILABLE, f"a {family} model does not transcribe; give a speech-to-text model"
        )
    return generate  # type: ignore[no-any-return] # mlx-audio ships no types


def _config(folder: Path) -> dict[str, object]:
    config = json.loads((folder / "config.json").read_bytes())
    return config if isinstance(config, dict) else {}


def _token_budget(default: object, context: object, max_tokens: int | None) -> TokenBudget:
    """`default`: of the family's `generate`; `context`: Whisper's, which writes at most half of it in a window."""
    held = context if isinstance(context, int) else None
    own = default if isinstance(default, int) else None if held is None else held // 2
    return TokenBudget(max_tokens or own, held)


def _rate_hz(model: object) -> int:
    """The model's input rate: its preprocessor's, its own, or what mlx-audio assumes."""
    frontend = getattr(getattr(model, "config", None), "frontend_conf", None)
    preprocessor = getattr(model, "preprocessor_config", None)
    for owner, name in ((preprocessor, "sample_rate"), (model, "sample_rate"), (frontend, "fs")):
        rate_hz = getattr(owner, name, None)
        if isinstance(rate_hz, int) and rate_hz > 0:
            return rate_hz
    return _DEFAULT_RATE_HZ
