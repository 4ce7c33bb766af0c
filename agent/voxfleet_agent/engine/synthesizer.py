"""A loaded text-to-speech model, through mlx-audio."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import MethodType
from typing import Any, Protocol

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx_audio.tts.utils import load  # type: ignore[import-untyped] # it ships no types

from voxfleet_agent.engine.mlx_memory import count_parameters
from voxfleet_agent.engine.model_loading import dtype_of, family_of, load_model
from voxfleet_agent.engine.model_twin import twin_of
from voxfleet_agent.engine.random_choices import RandomChoices
from voxfleet_agent.engine.speech_packages import missing_modules_problem, needed_modules, voice_file_problem
from voxfleet_agent.engine.synthesis_families import (
    SynthesisFamily,
    check_synthesis,
    rounded_interval,
    synthesis_family_of,
    synthesis_settings,
    voices_in,
)
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_task import MAX_TEXT_CHARACTERS, Synthesis

SEED = 0
"""The random seed, set before each text: models sample, but a text must sound the same in any order and any run."""
ENLARGED_FACTOR = 4

_WARM_UP_TEXT = "One two three."


class _Chunk(Protocol):
    audio: mx.array
    sample_rate: int
    segment_idx: int
    token_count: int


class _Generate(Protocol):
    def __call__(self, text: str, **settings: object) -> Iterable[_Chunk]: ...


class MlxSynthesizer:
    """One loaded model and voice. Load and use it on one thread: MLX streams belong to the thread that created them."""

    def __init__(
        self,
        folder: Path,
        synthesis: Synthesis,
        reference: npt.NDArray[np.float32] | None = None,
        reference_rate_hz: int = 0,
    ) -> None:
        """Loads the model. `reference`: float32 samples (N,) of `synthesis.reference`, at the model's rate.

        Raises VoxFleetError: INVALID_INPUT for settings that the model does not have, CONTRACT_VIOLATION for a
        reference at another rate than the model's, MODEL_UNAVAILABLE for a model that is not whole or whose packages,
        pronunciation or voice are not installed; and whatever the model's own code raises.
        """
        self._model = load_model(load, folder)
        self._generate: _Generate = self._model.generate
        self.family = family_of(self._model)
        self.dtype = dtype_of(self._model)
        """The types of its weights, in which it computes."""
        self.sample_rate_hz = int(self._model.sample_rate)
        self.parameters = count_parameters(self._model.parameters())
        keywords = inspect.signature(self._generate).parameters
        config = getattr(self._model, "config", None)
        model_type = str(getattr(config, "tts_model_type", ""))
        self._family = synthesis_family_of(self.family, model_type, frozenset(keywords))
        voices = _voices(self._model, folder)
        check_synthesis(self.family, self._family, synthesis, voices)
        _require_installed(self.family, self._family, synthesis, folder)
        if reference is not None and reference_rate_hz != self.sample_rate_hz:
            raise VoxFleetError(
                FailureClass.CONTRACT_VIOLATION,
                f"synthesis.reference comes at {reference_rate_hz} Hz and the model listens at {self.sample_rate_hz};"
                f" declare conversions.resample.toHz: {self.sample_rate_hz}",
            )
        if synthesis.reference is not None and reference is None:
            raise VoxFleetError(FailureClass.INVALID_INPUT, "synthesis.reference: its recording did not come")
        self._synthesis = synthesis
        self._folder = folder
        self._voices = voices
        self._reference = None if reference is None else mx.array(reference)
        self._frames_per_second = self._family.frames_per_second or _frames_per_second(config)
        interval = rounded_interval(synthesis.streaming_interval, self._frames_per_second)
        self.interval_milliseconds = interval.milliseconds if self._family.streams else 0
        """The duration of a streamed chunk; 0: the model does not stream."""
        self._busy = False
        """Whether the model itself speaks; it can speak one text at a time."""
        own_budget = keywords.get("max_tokens")
        self._own_budget = (
            own_budget.default if own_budget is not None and isinstance(own_budget.default, int) else None
        )

    def warm_up(self) -> None:
        """Synthesizes a few words, so that the first text does not pay for compilation."""
        for _ in self._synthesize(_WARM_UP_TEXT, self._synthesis, enlarged=False):
            pass

    def synthesize(
        self, text: str, *, enlarged: bool = False, synthesis: Synthesis | None = None
    ) -> Iterator[npt.NDArray[np.float32]]:
        """Yields non-empty chunks of float32 samples (N,) whose concatenation is the text's audio.

        Several texts may be spoken at once, a chunk of the one and then a chunk of another: each sounds as if it were
        the only one. `enlarged`: with ENLARGED_FACTOR times the token budget. `synthesis`: how this text is spoken;
        None: as the model was loaded. Raises VoxFleetError: CONTRACT_VIOLATION for an empty or too long text,
        INVALID_INPUT for settings that the model does not have or another reference than it was loaded with,
        MODEL_UNAVAILABLE for a voice that is not installed; then INFERENCE_ERROR when the rate changes between chunks
        or samples are not finite, TRUNCATED_OUTPUT after the last chunk when the token budget is spent, the model
        reached its limit without an end or it generated no audio; and whatever the model's own code raises.
        """
        if not text.strip() or len(text) > MAX_TEXT_CHARACTERS:
            raise VoxFleetError(
                FailureClass.CONTRACT_VIOLATION,
                f"the text has {len(text.strip())} characters; between 1 and {MAX_TEXT_CHARACTERS} are spoken",
            )
        if synthesis is not None and synthesis != self._synthesis:
            self._check(synthesis)
        return self._synthesize(text, synthesis or self._synthesis, enlarged=enlarged)

    def _check(self, synthesis: Synthesis) -> None:
        check_synthesis(self.family, self._family, synthesis, self._voices)
        _require_installed(self.family, self._family, synthesis, self._folder)
        if synthesis.reference is not None and synthesis.reference != self._synthesis.reference:
            raise VoxFleetError(
                FailureClass.INVALID_INPUT,
                "synthesis.reference: the lane was loaded with another recording, or with none; leave it out",
            )

    def _synthesize(self, text: str, synthesis: Synthesis, *, enlarged: bool) -> Iterator[npt.NDArray[np.float32]]:
        budget = self._budget(synthesis, enlarged=enlarged)
        samples = 0
        tokens: dict[int, int] = {}
        with self._idle_model() as model:
            limits = PocketLimits(model) if self.family == "pocket_tts" else None
            # Only the end of the iteration marks the last chunk: families disagree on `is_final_chunk`.
            generate: _Generate = self._generate if model is self._model else model.generate
            for chunk in _as_if_alone(partial(generate, text, **self._settings(synthesis, budget))):
                if chunk.sample_rate != self.sample_rate_hz:
                    raise _fault(f"the model's rate changed from {self.sample_rate_hz} to {chunk.sample_rate} Hz")
                audio = _samples(chunk.audio)
                tokens[chunk.segment_idx] = tokens.get(chunk.segment_idx, 0) + chunk.token_count
                samples += audio.shape[0]
                if audio.shape[0] > 0:
                    yield audio
        if budget is not None and any(count >= budget for count in tokens.values()):
            raise VoxFleetError(FailureClass.TRUNCATED_OUTPUT, f"the model stopped at its token limit of {budget}")
        if limits is not None and limits.reached:
            raise VoxFleetError(FailureClass.TRUNCATED_OUTPUT, "the model spoke up to its limit without an end")
        if samples == 0:
            raise VoxFleetError(FailureClass.TRUNCATED_OUTPUT, "the model said nothing")

    @contextmanager
    def _idle_model(self) -> Iterator[Any]:
        """The model, or while it speaks a twin, for one text. A twin may be copied in the middle of a stream, because a
        family forgets the stream before as it begins one."""
        if self._busy:
            yield twin_of(self._model)
            return
        self._busy = True
        try:
            yield self._model
        finally:
            self._busy = False

    def _budget(self, synthesis: Synthesis, *, enlarged: bool) -> int | None:
        if not self._family.budget:
            return None
        budget = synthesis.max_tokens or self._own_budget
        return budget * ENLARGED_FACTOR if enlarged and budget is not None else budget

    def _settings(self, synthesis: Synthesis, budget: int | None) -> dict[str, object]:
        keywords = synthesis_settings(self._family, synthesis, budget)
        if self._reference is not None and synthesis.reference is not None:
            keywords["ref_audio"] = self._reference
        if self._family.streams:
            interval = rounded_interval(synthesis.streaming_interval, self._frames_per_second)
            keywords |= {"stream": True, "streaming_interval": interval.seconds}
        if "verbose" in inspect.signature(self._generate).parameters:
            keywords["verbose"] = False  # some families print the text
        return keywords


def _as_if_alone(generate: Callable[[], Iterable[_Chunk]]) -> Iterator[_Chunk]:
    """The chunks of one stream, with random choices of its own."""
    choices = RandomChoices(SEED)
    with choices.drawn():
        stream = iter(generate())
    try:
        while True:
            with choices.drawn():
                chunk = next(stream, None)
            if chunk is None:
                return
            yield chunk
    finally:
        close = getattr(stream, "close", None)
        if close is not None:
            close()


class _Pocket(Protocol):
    """The parts of mlx-audio's pocket_tts that this module uses."""

    mimi: _Codec
    _generate_audio_stream_short_text: Callable[..., Iterable[mx.array]]


class _Codec(Protocol):
    frame_rate: float


class PocketLimits:
    """Detects pocket_tts's silent limit for a sentence: one second per word, plus two."""

    def __init__(self, model: _Pocket) -> None:
        self.reached = False
        self._frames_per_second = model.mimi.frame_rate
        # The class's own method: the model may be the twin of one whose sentences are counted.
        self._synthesize_sentence = MethodType(type(model)._generate_audio_stream_short_text, model)
        model._generate_audio_stream_short_text = self._counted

    def _counted(self, *, text_to_generate: str, **settings: object) -> Iterator[mx.array]:
        frames = 0
        for frame in self._synthesize_sentence(text_to_generate=text_to_generate, **settings):
            frames += 1
            yield frame
        if frames >= int((len(text_to_generate.split()) + 2) * self._frames_per_second):
            self.reached = True


def _samples(audio: mx.array) -> npt.NDArray[np.float32]:
    """The samples of one channel, (N,) float32. Raises VoxFleetError(INFERENCE_ERROR)."""
    samples = np.array(audio.astype(mx.float32))
    if samples.ndim > 1 and samples.size != max(samples.shape):
        raise _fault(f"the model made audio of shape {samples.shape}; one channel is written")
    if not np.isfinite(samples).all():
        raise _fault("the model made samples that are not finite")
    return samples.reshape(-1)


def _require_installed(name: str, family: SynthesisFamily, synthesis: Synthesis, folder: Path) -> None:
    language = synthesis_settings(family, synthesis, None).get("lang_code")
    modules = needed_modules(name, None if language is None else str(language))
    problems = (
        missing_modules_problem(name, modules, lambda module: find_spec(module) is not None),
        voice_file_problem(name, folder, synthesis.voice),
    )
    found = [problem for problem in problems if problem is not None]
    if found:
        raise VoxFleetError(FailureClass.MODEL_UNAVAILABLE, "; ".join(found))


def _voices(model: object, folder: Path) -> frozenset[str] | None:
    """The names of the model's voices in lower case; None when they are unknown."""
    supported = getattr(model, "get_supported_speakers", None)
    if callable(supported):
        return frozenset(str(name).lower() for name in supported()) or None
    return voices_in(folder)


def _frames_per_second(config: object) -> float | None:
    rate = getattr(getattr(config, "mimi", None), "frame_rate", None)
    return float(rate) if isinstance(rate, int | float) and rate > 0 else None


def _fault(message: str) -> VoxFleetError:
    return VoxFleetError(FailureClass.INFERENCE_ERROR, message)
