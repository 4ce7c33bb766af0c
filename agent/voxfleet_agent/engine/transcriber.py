"""A speech-to-text model in memory, through mlx-audio."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
from mlx_audio.stt import load  # type: ignore[import-untyped] # it ships no types

_DEFAULT_RATE_HZ = 16_000
_WARM_UP_SECONDS = 1


class SpeechModel:
    """One loaded model. Load and use it on one thread: MLX streams belong to the thread that made them."""

    def __init__(self, folder: Path) -> None:
        """Loads the model and runs it once, so that the first clip does not pay for compilation.

        Raises whatever the model's own code raises.
        """
        # As a Path: mlx-audio takes a text for the name of a hub model when the folder is missing.
        self._model = load(folder)
        self.sample_rate_hz = _rate_hz(self._model)
        self.transcribe(mx.zeros((_WARM_UP_SECONDS * self.sample_rate_hz,), dtype=mx.float32))

    def transcribe(self, samples: mx.array) -> str:
        """Text of float32 samples (N,) at `sample_rate_hz`. Raises whatever the model's own code raises."""
        output: object = self._model.generate(samples)
        text = output if isinstance(output, str) else getattr(output, "text", None)
        if not isinstance(text, str):
            raise TypeError(f"the model returned {type(output).__name__} without a text")
        return text.strip()


def _rate_hz(model: object) -> int:
    """The rate that the model hears: its preprocessor's, its own, or what mlx-audio assumes."""
    for owner in (getattr(model, "preprocessor_config", None), model):
        rate_hz = getattr(owner, "sample_rate", None)
        if isinstance(rate_hz, int) and rate_hz > 0:
            return rate_hz
    return _DEFAULT_RATE_HZ
